"""`mot-trl plan MODEL`: the memory of a training run, computed from the model's config, and the flags that fit."""

import sys
from typing import TYPE_CHECKING

from mot_trl.commands.flags import CommandParser, at_least, model_name

if TYPE_CHECKING:
    from mot_trl.modeling.memory import Memory, Run

LORA_FLAGS = "--use_peft --lora_target_modules all-linear --lora_r {r} --dtype bfloat16"
HINTS = """It does not fit: try --method lora or qlora, --sharding fsdp2 on more GPUs, fewer --num_generations,
a shorter --max_completion_length, or --per_device_train_batch_size 1."""


def main(arguments: list[str]) -> int:
    """Print memory and flags; the exit status is 0 if the run fits, else 1."""
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    model, r, completions = (options.pop(name) for name in ("model", "lora_r", "completions"))
    if options["vllm_share"] >= 1:
        parser.error("--vllm_gpu_memory_utilization is a share of the GPU, below 1")
    if options["gpus"] == 1 and options["sharding"] != "ddp":
        parser.error(f"--sharding {options['sharding']} needs --gpus 2 or more")
    batch = options.pop("per_device_train_batch_size"), options.pop("gradient_accumulation_steps")

    # Importing torch and transformers takes seconds, which `--help` and a mistyped flag need not wait for.
    from dataclasses import replace

    from mot_trl.modeling.memory import GIB, Run, choose_batch, memory_of
    from mot_trl.modeling.shape import read_shape

    run = Run(**options, weight_bytes=4 if options["method"] == "full" else 2)
    shape = read_shape(model, lora_r=r)
    if batch == (None, None):
        run = choose_batch(shape, run, completions=completions)
    else:
        run = replace(run, per_device_train_batch_size=batch[0] or 1, gradient_accumulation_steps=batch[1] or 1)
        if run.rows * run.gpus % run.num_generations:
            parser.error(f"{run.rows * run.gpus} completions a step are no whole groups of {run.num_generations}")
    memory = memory_of(shape, run)
    fit = memory.peak <= run.memory * GIB
    print(f"{shape.parameters:,} parameters, computed from the config; nothing was run.\n")
    print(*memory_lines(memory), sep="\n")
    print(f"\nPeak {memory.peak / GIB:.1f} of {run.memory:g} GiB: {'fits' if fit else 'DOES NOT FIT'}.")
    print(f"A step: {run.rows * run.gpus} completions, at most {run.rows * run.gpus * run.length:,} tokens.\n")
    print(flags_of(run, r))
    if not fit:
        print(HINTS, file=sys.stderr)
    return 0 if fit else 1


def memory_lines(memory: "Memory") -> list[str]:
    """A line for each thing that takes memory, in GiB."""
    lines = []
    for title, part in zip(("held throughout", "in rollouts", "in training"), memory, strict=True):
        lines.append(f"{title:24}{sum(part.values()) / (1 << 30):9.2f} GiB")
        lines += [f"  {name:22}{size / (1 << 30):9.2f}" for name, size in part.items() if size]
    return lines


def flags_of(run: "Run", r: int) -> str:
    """Flags for `mot-trl train` and the recipes."""
    flags = [
        f"--num_generations {run.num_generations} --per_device_train_batch_size {run.per_device_train_batch_size}",
        f"--gradient_accumulation_steps {run.gradient_accumulation_steps}",
        f"--max_completion_length {run.max_completion_length}",
    ]
    if run.method != "full":
        flags.append(LORA_FLAGS.format(r=r))
    if run.method == "qlora":
        flags.append("--load_in_4bit")
    if not run.gradient_checkpointing:
        flags.append("--no_gradient_checkpointing")
    if run.beta:
        flags.append(f"--beta {run.beta:g}")
    if run.vllm_share:
        flags.append(f"--use_vllm --vllm_mode colocate --vllm_gpu_memory_utilization {run.vllm_share:g}")
    return " ".join(flags)


def _parser() -> CommandParser:
    parser = CommandParser(prog="mot-trl plan", description="Compute the memory of a run, and the flags that fit.")
    parser.add_argument("model", metavar="MODEL", type=model_name, help="folder, config.json or hub name of a model")
    add = parser.add_argument
    add("--gpus", metavar="N", type=at_least(1), default=1, help="number of GPUs (default 1)")
    add("--memory", metavar="GIB", type=at_least(1, float), default=80.0, help="GiB of each GPU (default 80)")
    add("--method", choices=("full", "lora", "qlora"), default="full", help="what is trained (default full)")
    add("--sharding", choices=("ddp", "fsdp2", "zero3"), default="ddp", help="over several GPUs (default ddp)")
    add("--lora_r", metavar="R", type=at_least(1), default=16, help="rank of the adapter (default 16)")
    add("--beta", metavar="B", type=at_least(0, float), default=0.0, help="KL term's weight; not 0 needs a reference")
    add("--mixture_k", metavar="K", type=at_least(1), default=2, help="candidates of a mixture (default 2)")
    add("--num_generations", metavar="N", type=at_least(2), default=8, help="completions of a prompt (default 8)")
    add("--completions", metavar="N", type=at_least(1), default=64, help="completions of a step (default 64)")
    add("--prompt_length", metavar="N", type=at_least(1), default=256, help="tokens of a prompt (default 256)")
    add("--max_completion_length", metavar="N", type=at_least(1), default=1024, help="in tokens (default 1024)")
    add("--per_device_train_batch_size", metavar="N", type=at_least(1), help="default: the largest that fits")
    add("--gradient_accumulation_steps", metavar="N", type=at_least(1), help="default: what --completions asks for")
    add("--no_gradient_checkpointing", dest="gradient_checkpointing", action="store_false", help="keep activations")
    add(
        "--vllm_gpu_memory_utilization",
        dest="vllm_share",
        metavar="SHARE",
        type=at_least(0, float),
        default=0.0,
        help="of a colocated vLLM (default: none)",
    )
    return parser
