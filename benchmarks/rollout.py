"""Tokens per second of our rollouts against TRL's own, or against our own discrete ones, side by side.

    python benchmarks/rollout.py --model PATH --prompt_tokens 80 --new_tokens 128 --lengths full
    python benchmarks/rollout.py --model PATH --prompt_tokens 80 --new_tokens 128 --lengths full --against one_token
    python benchmarks/rollout.py --model PATH --prompt_tokens 80 --new_tokens 128 --lengths full --against vllm

Both arms are the trainers' own `_generate_single_turn`: same weights, prompts, group size and length distribution.
On a GPU, if there is one, in bfloat16. With several `--new_tokens` it also prints the exponent with which the time
grows.
"""

import itertools
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from common import EndAt, alternate, arguments, load, make_prompts, ratio, report
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from mot_trl import MoTGRPOConfig, MoTGRPOTrainer


def no_reward(completions: list[str], **_: object) -> list[float | None]:
    """Nothing is judged here."""
    return [None] * len(completions)


def make_trainer(path: str | None, *, arm: str, k: int, prompts: int, group: int, longest: int) -> Any:
    """TRL's trainer where the arm is `trl` or `vllm`, else ours with the strategy of that name."""
    cuda = torch.cuda.is_available()
    model, tokenizer = load(path)
    settings: dict[str, Any] = {
        "output_dir": tempfile.mkdtemp(),
        "per_device_train_batch_size": prompts * group,
        "num_generations": group,
        "max_completion_length": longest,
        "use_cpu": not cuda,
        "bf16": cuda,
        "report_to": [],
        "temperature": 0.9,
    }
    rows = Dataset.from_dict({"prompt": ["a"] * prompts})
    if arm == "vllm":
        # It takes no logits processors: told to ignore the end, its rows are of full length, too.
        settings |= {"use_vllm": True, "vllm_mode": "colocate", "generation_kwargs": {"ignore_eos": True}}
    if arm in ("trl", "vllm"):
        return GRPOTrainer(model, no_reward, GRPOConfig(**settings), train_dataset=rows, processing_class=tokenizer)
    options = {} if arm == "one_token" else {"mixture_k": k}
    config = MoTGRPOConfig(**settings, strategy=arm, stop_text="\x00never\x00", **options)
    return MoTGRPOTrainer(model, no_reward, config, train_dataset=rows, processing_class=tokenizer)


def rollout(trainer: Any, texts: list[str], *, group: int, longest: int, ragged: bool) -> Callable[[], float]:
    """Seconds a token of one generation batch."""
    tokenizer = trainer.processing_class
    prompt_ids = [tokenizer.encode(text) for text in texts for _ in range(group)]
    end = EndAt(
        prompt_length=max(map(len, prompt_ids)), longest=longest, eos_token_id=tokenizer.eos_token_id, ragged=ragged
    )
    generate = type(trainer.model).generate
    trainer.model.generate = lambda *args, **kwargs: generate(trainer.model, *args, logits_processor=[end], **kwargs)

    def run() -> float:
        start = time.perf_counter()
        completion_ids, _ = trainer._generate_single_turn(prompt_ids, None, {}, group)
        return (time.perf_counter() - start) / sum(map(len, completion_ids))

    return run


def main() -> None:
    """Print the ratio of speeds in each case."""
    parser = arguments(__doc__)
    parser.add_argument("--strategies", nargs="+", default=["top_k"])
    parser.add_argument(
        "--against", choices=["trl", "one_token", "vllm"], default="trl", help="discrete rollouts: whose"
    )
    parser.add_argument("--k", type=int, nargs="+", default=[4])
    parser.add_argument("--prompt_tokens", type=int, nargs="+", default=[80, 400])
    parser.add_argument("--new_tokens", type=int, nargs="+", default=[128, 384])
    parser.add_argument("--lengths", nargs="+", default=["full", "ragged"])
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--prompts", type=int, default=2)
    args = parser.parse_args()
    if args.against == "vllm" and (args.model is None or args.lengths != ["full"]):
        parser.error(
            "vLLM loads a model by its path, and takes no lengths from us: give `--model` and `--lengths full`"
        )
    seconds: dict[str, dict[int, float]] = {}
    cases = itertools.product(args.prompt_tokens, args.lengths, args.strategies, args.k, args.new_tokens)
    for prompt_tokens, lengths, strategy, k, longest in cases:
        runs = []
        for arm in (strategy, args.against):
            trainer = make_trainer(args.model, arm=arm, k=k, prompts=args.prompts, group=args.group, longest=longest)
            texts = make_prompts(trainer.processing_class, prompt_tokens, args.prompts)
            runs.append(rollout(trainer, texts, group=args.group, longest=longest, ragged=lengths == "ragged"))
        ours, theirs = alternate(runs, args.repeats)
        report(
            args.json,
            strategy=strategy,
            k=k,
            prompt_tokens=prompt_tokens,
            new_tokens=longest,
            lengths=lengths,
            tokens_per_second=round(1 / statistics.median(ours), 1),
            **{f"speed_over_{args.against}": ratio(theirs, ours)},
        )
        for name, numbers in ((strategy, ours), (args.against, theirs)):
            case = f"{name} k={k} prompt_tokens={prompt_tokens} {lengths}"
            seconds.setdefault(case, {})[longest] = statistics.median(numbers) * longest
    for case, times in seconds.items():
        if len(times) > 1:
            (short, before), *_, (long, after) = sorted(times.items())
            exponent = math.log(after / before) / math.log(long / short)
            report(args.json, case=case, time_grows_with_length_to_the=f"{exponent:.2f}")


if __name__ == "__main__":
    main()
