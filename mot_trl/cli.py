"""The command line: `mot-trl COMMAND`, also as `python -m mot_trl.cli COMMAND`."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module, metadata

# What each command does. Its `main` is in `mot_trl/commands/`, in a file of the same name with underscores.
COMMANDS = {
    "generate": "ask a model a question, and print its thinking with the mixtures",
    "traces": "write an HTML page of what a run's model mixed",
    "plots": "plot the learning curves of one or several runs",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names, and return its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="mot-trl",
        description="Generate with mixtures, and look at training runs.",
        epilog="`mot-trl COMMAND --help` describes a command.",
    )
    parser.add_argument("--version", action="version", version=metadata.version("mot-trl"))
    commands = parser.add_subparsers(dest="command", title="commands", metavar="COMMAND")
    for name, text in COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    # Only the first word: each command parses the rest with a parser of its own.
    command = parser.parse_args(words[:1]).command
    if command is None:
        parser.print_help()
        return 2
    return import_module(f"mot_trl.commands.{command.replace('-', '_')}").main(words[1:])


if __name__ == "__main__":
    sys.exit(main())
