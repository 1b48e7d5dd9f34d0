"""`mot-trl evaluate`: accuracy, pass@k, majority vote and lengths of models under several strategies."""

import argparse
import sys
from importlib.util import find_spec
from typing import Any

from mot_trl.commands.flags import PACKAGE, FlagParser, model_name, read_flags, read_names, strategy_word

NO_TASKS = {"__init__", "__pycache__", "fixtures", "loading"}
DEFAULTS: dict[str, Any] = {"max_new_tokens": 1024}


def main(arguments: list[str]) -> int:
    """Check the flags, then import what evaluates, and print the tables."""
    # Tasks of one's own are modules, as near as for `python -m`.
    sys.path.insert(0, "")
    flags, prog = read_flags("evaluation/run.py", "EvaluationConfig"), "mot-trl evaluate"
    choices = {"engine": read_names("evaluation/run.py", "Engines")}
    FlagParser(prog, flags, types=TYPES, choices=choices).check(arguments)

    from transformers.utils import logging

    from mot_trl import evaluation

    logging.disable_progress_bar()
    evaluation.run(evaluation.parse(DEFAULTS, arguments, prog=prog))
    return 0


def task(name: str) -> str:
    """The name, if there is such a task in this package, or a module or package of one's own.

    Raises:
        argparse.ArgumentTypeError: There is none.
    """
    own = sorted(
        {path.stem for path in (PACKAGE / "tasks").iterdir()} - {"__init__", "__pycache__", "fixtures", "loading"}
    )
    if name not in own and find_spec(name.partition(".")[0]) is None:
        raise argparse.ArgumentTypeError(
            f"Unknown task {name!r}: choose one of {', '.join(own)}, or name a module of your own with a function "
            f"`load`, such as {name}.py in this folder"
        )
    return name


TYPES = {"models": model_name, "base": model_name, "strategies": strategy_word, "task": task}
