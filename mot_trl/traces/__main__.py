"""`mot-trl traces RUN_DIR`: write the HTML page of a run's traces, and name it."""

import argparse
import sys
from pathlib import Path

from mot_trl.traces.page import write_page


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, write the page and, if asked to, the tables and plots."""
    parser = argparse.ArgumentParser(prog="mot-trl traces", description="Show what a run's model mixed.")
    parser.add_argument("run_dir", type=Path, help="the run's output_dir")
    parser.add_argument("--output", type=Path, help="file to write (default RUN_DIR/traces.html)")
    parser.add_argument("--tables", action="store_true", help="also write tables (CSV) and plots of token selection")
    options = parser.parse_args(arguments)
    try:
        path, left_out = write_page(options.run_dir, options.output)
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(path)
    if left_out:
        print(f"{left_out} completions were left out, evenly over the steps, to keep the page within 10 MB.")
    if options.tables:
        from mot_trl.traces.token_selection_plots import write_figure, write_tables

        print(*write_tables(options.run_dir), sep="\n")
        try:
            print(*write_figure(options.run_dir), sep="\n")
        except ImportError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
