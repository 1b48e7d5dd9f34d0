"""The page of a study: `python -m recipes.study FILE` writes it from the lines of FILE alone."""

import argparse
import sys
from pathlib import Path

from recipes.study.figures import draw_all
from recipes.study.report import page
from recipes.study.results import Results
from recipes.study.results_file import read


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, write page and figures, and name them."""
    parser = argparse.ArgumentParser(prog="python -m recipes.study", description="Write the page of a study.")
    parser.add_argument("lines", type=Path, metavar="FILE", help="what recipes/study/train.py wrote")
    parser.add_argument("--output", type=Path, default=Path("docs/study.md"), help="the page (default docs/study.md)")
    options = parser.parse_args(arguments)
    try:
        results = Results(read(options.lines))
        text = page(results, figures=options.output.stem)
        written = draw_all(results, options.output.with_suffix(""))
    except (FileNotFoundError, ImportError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    options.output.write_text(text, encoding="utf-8")
    print(options.output, *written, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
