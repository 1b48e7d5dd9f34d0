"""`mot-trl plots RUN_DIR [RUN_DIR ...]`: plot the learning curves of runs."""

import sys
from pathlib import Path

from mot_trl.commands.flags import CommandParser, at_least


def main(arguments: list[str]) -> int:
    """Read the command line, plot the runs, and print the files' names."""
    parser = CommandParser(prog="mot-trl plots", description="Plot the learning curves of runs.")
    parser.add_argument("run_dirs", type=Path, nargs="+", metavar="RUN_DIR", help="a run's output_dir")
    parser.add_argument("--output", type=Path, help="folder to write to (default RUN_DIR/plots)")
    parser.add_argument("--window", type=at_least(1), default=10, help="logged steps in a train mean (default 10)")
    options = parser.parse_args(arguments)

    from mot_trl.traces.learning_curves import plot_runs

    try:
        written = plot_runs(options.run_dirs, options.output, window=options.window)
    except (FileNotFoundError, ImportError) as error:
        print(error, file=sys.stderr)
        return 1
    print(*written, sep="\n")
    return 0
