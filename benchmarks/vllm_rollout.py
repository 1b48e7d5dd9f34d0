"""Tokens per second of mixtures on vLLM relative to vLLM's own discrete rollouts, and to our own decoder.

    python benchmarks/vllm_rollout.py --model PATH --requests 16 64 --prompt_tokens 80 400 --new_tokens 256

Needs `pip install ".[vllm]"` and a GPU: Triton's interpreter cannot run the sampler of vLLM's discrete rollouts
on a CPU. The engines are in one process, of the same weights, and take turns. The discrete one is asked for what TRL
asks for, the log-probability of each token, and the other one for its records.
"""

import tempfile
from collections.abc import Callable
from typing import Any

import torch
from common import alternate, arguments, load, make_prompts, ratio, report, timed

from mot_trl import DecoderConfig
from mot_trl.engines.vllm import generate_with_record, load_engine


def discrete(llm: Any, prompts: list[list[int]], new_tokens: int) -> Callable[[], float]:
    """Seconds a batch takes as TRL asks for it."""
    from vllm import SamplingParams  # ty: ignore[import-not-found]

    params = SamplingParams(max_tokens=new_tokens, ignore_eos=True, logprobs=0)
    return timed(lambda: llm.generate([{"prompt_token_ids": ids} for ids in prompts], params, use_tqdm=False))


def mixed(llm: Any, prompts: list[list[int]], new_tokens: int) -> Callable[[], float]:
    """Seconds a batch takes with its records."""
    from vllm import SamplingParams  # ty: ignore[import-not-found]

    params = SamplingParams(max_tokens=new_tokens, ignore_eos=True)
    return timed(lambda: generate_with_record(llm, prompts, params))


def ours(model: Any, decoder: Any, prompts: list[list[int]], new_tokens: int) -> Callable[[], float]:
    """Seconds a batch takes our own decoder."""
    ids = torch.tensor(prompts, device=model.device)
    settings = {"do_sample": True, "top_k": 0, "max_new_tokens": new_tokens, "min_new_tokens": new_tokens}
    return timed(lambda: model.generate(ids, attention_mask=torch.ones_like(ids), custom_generate=decoder, **settings))


def main() -> None:
    """Print the ratio of speeds in each case."""
    parser = arguments(__doc__)
    parser.add_argument("--strategy", default="dirichlet")
    parser.add_argument("--mixture_k", type=int, default=4)
    parser.add_argument("--requests", type=int, nargs="+", default=[16])
    parser.add_argument("--prompt_tokens", type=int, nargs="+", default=[80])
    parser.add_argument("--new_tokens", type=int, default=256)
    options = parser.parse_args()

    from vllm import LLM  # ty: ignore[import-not-found]

    model, tokenizer = load(options.model)
    folder = options.model or tempfile.mkdtemp()
    if options.model is None:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    # A text that is never written: all tokens are thoughts.
    config = DecoderConfig(options.strategy, {"k": options.mixture_k}, stop_text="\x01never\x01")
    settings: dict[str, Any] = {
        "max_model_len": max(options.prompt_tokens) + options.new_tokens,
        "max_num_seqs": max(options.requests),
        "dtype": str(model.dtype).removeprefix("torch."),
    }
    if not torch.cuda.is_available():
        settings |= {"enforce_eager": True, "kv_cache_memory_bytes": 1 << 31}
    plain, engine = LLM(model=folder, **settings), load_engine(folder, config, **settings)
    for requests in options.requests:
        for length in options.prompt_tokens:
            texts = make_prompts(tokenizer, length, requests)
            prompts = [tokenizer.encode(text)[:length] for text in texts]
            runs = [mixed(engine, prompts, options.new_tokens), discrete(plain, prompts, options.new_tokens)]
            runs.append(ours(model, config.build(tokenizer), prompts, options.new_tokens))
            mine, theirs, own = alternate(runs, options.repeats)
            case = {"requests": requests, "prompt_tokens": length, "new_tokens": options.new_tokens}
            against = {"over_discrete": ratio(theirs, mine), "over_own_decoder": ratio(own, mine)}
            report(options.json, **case, **against)


if __name__ == "__main__":
    main()
