"""Tokens per second of mixtures through transformers' continuous batching, relative to its discrete rollouts and ours.

    python benchmarks/continuous_batching.py --requests 16 --prompt_tokens 80 400 --new_tokens 64

Both kinds of completions share one model, take turns, and are as long as asked for; the discrete ones share no blocks
of the cache either. `over_own_decoder` is relative to our decoder, which reads equal prompts once: here all differ.
"""

from collections.abc import Callable
from typing import Any

import torch
from common import alternate, arguments, load, make_prompts, ratio, report, timed
from transformers import GenerationConfig
from transformers.generation import ContinuousBatchingConfig

from mot_trl import DecoderConfig
from mot_trl.engines.continuous_batching import generate_batch


def runs(model: Any, decoder: Any, prompts: list[list[int]], new_tokens: int) -> list[Callable[[], float]]:
    """Seconds a batch takes: with mixtures, without, and with our own decoder."""
    config = GenerationConfig(do_sample=True, top_k=0, max_new_tokens=new_tokens, eos_token_id=-1, pad_token_id=0)
    blocks = len(prompts) * -(-(len(prompts[0]) + new_tokens) // 32) + 8
    sizes: dict[str, Any] = {
        "page_size": 32,
        "num_blocks": blocks,
        "max_batch_tokens": 1024,
        "allow_block_sharing": False,
    }
    # A configuration is filled in where it is used, and the two kinds want others.
    given = lambda: {  # noqa: E731
        "generation_config": config,
        "continuous_batching_config": ContinuousBatchingConfig(**sizes),
    }
    ids = torch.tensor(prompts, device=model.device)
    settings = {"do_sample": True, "top_k": 0, "max_new_tokens": new_tokens, "min_new_tokens": new_tokens}
    return [
        timed(lambda: generate_batch(model, decoder, prompts, **given())),
        timed(lambda: model.generate_batch(prompts, **given())),
        timed(lambda: model.generate(ids, attention_mask=torch.ones_like(ids), custom_generate=decoder, **settings)),
    ]


def main() -> None:
    """Print the ratio of speeds in each case."""
    parser = arguments(__doc__)
    parser.add_argument("--strategy", default="dirichlet")
    parser.add_argument("--mixture_k", type=int, default=4)
    parser.add_argument("--requests", type=int, nargs="+", default=[16])
    parser.add_argument("--prompt_tokens", type=int, nargs="+", default=[80])
    parser.add_argument("--new_tokens", type=int, default=64)
    options = parser.parse_args()

    model, tokenizer = load(options.model)
    # A text that is never written: all tokens are thoughts.
    config = DecoderConfig(options.strategy, {"k": options.mixture_k}, stop_text="\x01never\x01")
    decoder = config.build(tokenizer)
    for requests in options.requests:
        for length in options.prompt_tokens:
            texts = make_prompts(tokenizer, length, requests)
            prompts = [tokenizer.encode(text)[:length] for text in texts]
            mixed, discrete, own = alternate(runs(model, decoder, prompts, options.new_tokens), options.repeats)
            case = {"requests": requests, "prompt_tokens": length, "new_tokens": options.new_tokens}
            against = {"over_discrete": ratio(discrete, mixed), "over_own_decoder": ratio(own, mixed)}
            report(options.json, **case, **against)


if __name__ == "__main__":
    main()
