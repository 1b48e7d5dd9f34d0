"""`mot-trl train TASK`: train a model on a task that thinks in mixtures; the recipes' command line."""

from importlib import import_module

from mot_trl.commands.flags import CommandParser, Flag, FlagParser, read_flags, read_names, strategy_word
from mot_trl.recipes import TASKS

# What `--help` shows of this library's flags; those that no group names come last.
GROUPS = {
    "mixtures": (
        *("experiment_name", "strategy", "strategy_kwargs", "mixture_k", "mixture_score", "loss_on_all_tokens"),
        "normal_generation",
    ),
    "thinking": (
        *("start_text", "stop_text", "max_mixture_tokens", "max_total_mixture_tokens"),
        *("cold_stop_threshold", "cold_stop_patience"),
    ),
}
OFTEN_USED = (
    *("model_name_or_path", "output_dir", "max_steps", "learning_rate", "per_device_train_batch_size"),
    *("num_generations", "max_completion_length", "temperature", "use_peft", "eval_strategy"),
    *("save_steps", "resume_from_checkpoint"),
)


def main(arguments: list[str]) -> int:
    """Check the flags, then import what trains, and train."""
    parser = CommandParser(
        prog="mot-trl train",
        usage="mot-trl train TASK [flags]",
        description="Train a model that thinks in mixtures of tokens, with GRPO.",
        epilog="`mot-trl train TASK --help` lists the flags; `--help all` those of TRL and transformers too.",
    )
    tasks = parser.add_subparsers(dest="task", title="tasks", metavar="TASK", required=True)
    for name, task in TASKS.items():
        tasks.add_parser(name, help=task.about, add_help=False)
    task, words = parser.parse_args(arguments[:1]).task, arguments[1:]
    shown = [word for word in words if word in ("-h", "--help")]
    if shown and words[-1] != "all":
        print(help_text(task))
        return 0
    if not shown:
        check_flags(task, words)

    from mot_trl.trainer import script_utils

    recipe, prog = import_module(f"mot_trl.recipes.{task}"), f"mot-trl train {task}"
    script_utils.silence_others()
    recipe.main(*script_utils.parse(recipe.DEFAULTS, recipe.ARGUMENTS, shown or words, prog=prog))
    return 0


def check_flags(task: str, words: list[str]) -> None:
    """Exit with a message if a flag of a task, or a name or number given for it, is mistyped."""
    flags = [*task_flags(task), *own_flags(), *upstream_flags(), Flag("config", "str", "File of flags")]
    FlagParser(f"mot-trl train {task}", flags, choices=choices(), types={"strategy": strategy_word}).check(words)


def choices() -> dict[str, list[str]]:
    """The names that some flags take."""
    return {
        "experiment_name": read_names("strategies/presets.py", "PRESETS"),
        "mixture_score": read_names("strategies/surrogate.py", "LogProbType"),
        "suite": read_names("tasks/reasoning_gym/suites.py", "SUITES"),
        "agent": read_names("tasks/agents/__init__.py", "AGENTS"),
    }


def help_text(task: str) -> str:
    """The task's flags, this library's, and the most used of the others, in groups, a line each."""
    own = {flag.name: flag for flag in own_flags()}
    upstream = {flag.name: flag for flag in reversed(upstream_flags())}
    groups = {"data": task_flags(task)}
    groups |= {title: [own.pop(name) for name in names] for title, names in GROUPS.items()}
    groups |= {"run": list(own.values()), "of TRL and transformers": [upstream[name] for name in OFTEN_USED]}
    lines = [f"usage: mot-trl train {task} [flags]   ({TASKS[task].about})"]
    for title, flags in groups.items():
        lines += ["", f"{title}:"] if flags else []
        lines += [flag.line for flag in flags]
    return "\n".join([*lines, "", "`--config FILE` reads flags from YAML; `--help all` describes all of them."])


def task_flags(task: str) -> list[Flag]:
    """The flags that a task adds."""
    return read_flags(*TASKS[task].flags) if TASKS[task].flags else []


def own_flags() -> list[Flag]:
    """The fields of `MoTGRPOConfig` that are not TRL's."""
    return read_flags("trainer/config.py", "MoTGRPOConfig")


def upstream_flags() -> list[Flag]:
    """The flags of TRL and transformers."""
    return [
        *read_flags("trainer/model_config.py", "ModelConfig", package="trl"),
        *read_flags("trainer/grpo_config.py", "GRPOConfig", package="trl"),
        *read_flags("trainer/base_config.py", "_BaseConfig", package="trl"),
        *read_flags("training_args.py", "TrainingArguments", package="transformers"),
    ]
