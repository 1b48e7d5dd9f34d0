"""`mot-trl traces RUN_DIR`: write the HTML page of a run's traces and, on request, tables and plots."""

import sys
from pathlib import Path

from mot_trl.commands.flags import CommandParser


def main(arguments: list[str]) -> int:
    """Read the command line, write the files and print their names."""
    parser = CommandParser(prog="mot-trl traces", description="Show what a run's model mixed.")
    parser.add_argument("run_dir", type=Path, help="the run's output_dir")
    parser.add_argument("--output", type=Path, help="file to write (default RUN_DIR/traces.html)")
    parser.add_argument("--tables", action="store_true", help="also write tables (CSV) and plots of token selection")
    options = parser.parse_args(arguments)

    from mot_trl.traces.page import write_page
    from mot_trl.traces.token_selection_plots import write_analysis

    try:
        path, left_out = write_page(options.run_dir, options.output)
        print(path)
        if left_out:
            print(f"{left_out} completions were left out, evenly over the steps, to keep the page within 10 MB.")
        if options.tables:
            for path in write_analysis(options.run_dir):
                print(path)
    except (FileNotFoundError, ImportError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0
