"""The command line: `mot-trl COMMAND`, also as `python -m mot_trl.cli COMMAND`."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from traceback import extract_tb

from mot_trl import __version__
from mot_trl.commands.flags import CommandParser

TRAINING_LOOP = "_inner_training_loop"
"""The method of transformers' trainer in which training happens."""

# What each command does. Its `main` is in `mot_trl/commands/`, in a file of the same name with underscores.
COMMANDS = {
    "train": "train a model on a task",
    "generate": "ask a model questions, and print its thinking with the mixtures",
    "evaluate": "measure the accuracy of models under several strategies",
    "plan": "compute the memory of a run from a model's config, and flags that fit",
    "traces": "write an HTML page of what a run's model mixed",
    "plots": "plot the learning curves of one or several runs",
    "sandbox": "check how well this machine can hold untrusted programs",
    "study": "train and compare every strategy on small puzzles, from a checkout",
    "vllm-serve": "serve a model that thinks in mixtures, through vLLM",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names, and return its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = CommandParser(
        prog="mot-trl",
        description="Train and use language models that think in mixtures of tokens.",
        epilog="`mot-trl COMMAND --help` describes a command. With MOT_TRL_TRACEBACK=1 errors say where they arose.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", title="commands", metavar="COMMAND")
    for name, text in COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    # Only the first word: each command parses the rest with a parser of its own.
    command = parser.parse_args(words[:1]).command
    if command is None:
        parser.print_help()
        return 2
    try:
        return import_module(f"mot_trl.commands.{command.replace('-', '_')}").main(words[1:])
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        # What is checked before the first step explains itself; behind it, only the traceback tells where it was.
        if "MOT_TRL_TRACEBACK" in os.environ or any(f.name == TRAINING_LOOP for f in extract_tb(error.__traceback__)):
            raise
        print(f"mot-trl {command}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
