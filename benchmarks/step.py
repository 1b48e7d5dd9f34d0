"""One whole GRPO step, ours against TRL's, side by side: seconds and peak memory.

    python benchmarks/step.py --model PATH --prompt_tokens 80 --new_tokens 64

Each measurement is a process of its own, A B A B, that takes one step to warm up and one that counts. Lengths are
full, so that both arms do the same work.
"""

import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from typing import Any

from common import EndAt, arguments, load, make_prompts, ratio, report
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from mot_trl import MoTGRPOConfig, MoTGRPOTrainer


def letters(completions: list[str], **_: object) -> list[float | None]:
    """A reward that differs within a group."""
    return [float(sum(map(ord, text)) % 7) for text in completions]


def measure(arm: str, args: Any) -> dict[str, float]:
    """Take two steps; seconds of the second, and the process's peak memory in MiB."""
    model, tokenizer = load(args.model)
    group, longest = args.group, args.new_tokens[0]
    settings: dict[str, Any] = {
        "output_dir": tempfile.mkdtemp(),
        "per_device_train_batch_size": args.rows or args.prompts * group,
        "gradient_accumulation_steps": args.prompts * group // (args.rows or args.prompts * group),
        "num_generations": group,
        "max_completion_length": longest,
        "max_steps": 2,
        "logging_steps": 1,
        "gradient_checkpointing": not args.no_gradient_checkpointing,
        "use_cpu": True,
        "bf16": False,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "temperature": 0.9,
    }
    texts = make_prompts(tokenizer, args.prompt_tokens[0], 2 * args.prompts)
    rows = Dataset.from_dict({"prompt": texts})
    if arm == "trl":
        trainer: Any = GRPOTrainer(
            model, letters, GRPOConfig(**settings), train_dataset=rows, processing_class=tokenizer
        )
    else:
        extra = {} if arm == "one_token" else {"mixture_k": args.k}
        config = MoTGRPOConfig(
            **settings, strategy=arm, stop_text="\x00never\x00", share_prompts=not args.read_every_prompt, **extra
        )
        trainer = MoTGRPOTrainer(model, letters, config, train_dataset=rows, processing_class=tokenizer)
    end = EndAt(prompt_length=0, longest=longest, eos_token_id=tokenizer.eos_token_id, ragged=False)
    generate = type(model).generate
    model.generate = lambda *a, **kwargs: generate(model, *a, logits_processor=[end], **kwargs)
    trainer.train()
    seconds = [entry["step_time"] for entry in trainer.state.log_history if "step_time" in entry]
    return {"seconds": seconds[-1], "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> None:
    """Print the ratio of times and of peak memory in each case."""
    parser = arguments(__doc__)
    parser.add_argument("--strategy", default="top_k")
    parser.add_argument("--k", type=int, default=4)
    parser.add_argument("--prompt_tokens", type=int, nargs="+", default=[80, 400])
    parser.add_argument("--new_tokens", type=int, nargs="+", default=[128])
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--prompts", type=int, default=2)
    parser.add_argument("--rows", type=int, help="rows of a micro-batch; by default all")
    parser.add_argument("--no_gradient_checkpointing", action="store_true", help="turn TRL's default off")
    parser.add_argument("--read_every_prompt", action="store_true", help="turn `share_prompts` off")
    parser.add_argument("--measure", help="measure one arm in this process")
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure, args)))
        return
    for prompt_tokens, longest in itertools.product(args.prompt_tokens, args.new_tokens):
        numbers: dict[str, list[dict[str, float]]] = {args.strategy: [], "trl": []}
        for _ in range(args.repeats):
            for arm, kept in numbers.items():
                command = [sys.executable, __file__, *sys.argv[1:], "--measure", arm]
                command += ["--prompt_tokens", str(prompt_tokens), "--new_tokens", str(longest)]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    sys.exit(done.stderr)
                kept.append(json.loads(done.stdout.splitlines()[-1]))
        ours, theirs = numbers.values()
        seconds, mib = ([[one[unit] for one in arm] for arm in (ours, theirs)] for unit in ("seconds", "mib"))
        report(
            args.json,
            strategy=args.strategy,
            prompt_tokens=prompt_tokens,
            new_tokens=longest,
            rows=args.prompts * args.group,
            checkpointing=not args.no_gradient_checkpointing,
            seconds=round(statistics.median(seconds[0]), 2),
            time_over_trl=ratio(*seconds),
            mib=round(statistics.median(mib[0])),
            peak_memory_over_trl=ratio(*mib),
        )


if __name__ == "__main__":
    main()
