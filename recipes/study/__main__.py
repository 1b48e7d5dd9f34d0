"""Write the page of a study from its results: `python -m recipes.study FILE`, from the repository root."""

import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Write the page and its figures, and print their paths; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m recipes.study", description="Write the page of a study.")
    parser.add_argument("results", type=Path, metavar="FILE", help="results of `python -m recipes.study.train`")
    parser.add_argument(
        "--width", type=Path, metavar="FILE", help="results of `python -m recipes.study.width.train`, the second part"
    )
    parser.add_argument("--output", type=Path, default=Path("docs/study.md"), help="the page (default docs/study.md)")
    options = parser.parse_args(arguments)

    # Importing SciPy and matplotlib takes seconds, which a mistyped flag need not wait for.
    from recipes.study.figures import draw_all
    from recipes.study.report import page
    from recipes.study.results import Results
    from recipes.study.results_file import read
    from recipes.study.width.report import section
    from recipes.study.width.results import WidthResults

    try:
        results = Results(read(options.results))
        text = page(results, figures=options.output.stem)
        if options.width is not None:
            text += "\n" + section(WidthResults(read(options.width)))
        written = draw_all(results, options.output.with_suffix(""))
    except (FileNotFoundError, ImportError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    options.output.write_text(text, encoding="utf-8")
    print(options.output, *written, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
