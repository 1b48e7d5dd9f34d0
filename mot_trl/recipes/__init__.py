"""What `mot-trl train TASK` runs: a module per task, with `DEFAULTS`, `main`, and its own flags as `ARGUMENTS`."""

from typing import NamedTuple


class Task(NamedTuple):
    """A task to train on.

    Attributes:
        about: Half a line for `--help`.
        flags: File within the package, and dataclasses in it, that hold the task's own flags.
    """

    about: str
    flags: tuple[str, ...] = ("trainer/recipe_parser.py", "DataArguments")


WITH_JUDGE = ("trainer/recipe_parser.py", "DataArguments", "ScriptArguments")

TASKS = {
    "quickstart": Task("puzzles, with a small model that is included", ()),
    "gsm8k": Task("GSM8K: grade-school mathematics", WITH_JUDGE),
    "math500": Task("MATH, evaluated on MATH-500", WITH_JUDGE),
    "mbpp": Task("MBPP: short programs, rewarded by their tests"),
    "leetcode": Task("LeetCodeDataset: programs, rewarded by their tests"),
    "reasoning_gym": Task("Reasoning Gym: 105 generators of problems", ("recipes/reasoning_gym.py", "TaskConfig")),
    "agent": Task("tools and turns: a calculator, a number to guess", ("recipes/agent.py", "AgentConfig")),
    "vlm_counting": Task("pictures: count the shapes in them", ()),
}
"""Every task; `mot_trl.recipes.<name>` is its module, imported when it is asked for."""
