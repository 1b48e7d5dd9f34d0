"""`mot-trl study`: train every strategy on puzzles, and write the page that compares them; needs a checkout."""

import sys
from importlib import import_module

from mot_trl.commands.flags import PACKAGE, CommandParser, FlagParser, read_flags

CHECKOUT = PACKAGE.parent
PARTS = {
    "train": "do the runs that are missing; stop and start again at will",
    "page": "write the page and its figures from the results of the runs",
}


def main(arguments: list[str]) -> int:
    """Run the part of the study that is named."""
    parser = CommandParser(
        prog="mot-trl study",
        usage="mot-trl study PART [flags]",
        description="Train every strategy on small puzzles, and compare them. It runs in a checkout.",
        epilog="`mot-trl study PART --help` lists the flags.",
    )
    parts = parser.add_subparsers(dest="part", title="parts", metavar="PART", required=True)
    for name, text in PARTS.items():
        parts.add_parser(name, help=text, add_help=False)
    part, words = parser.parse_args(arguments[:1]).part, arguments[1:]
    if not (CHECKOUT / "recipes" / "study").is_dir():
        parser.error("the study is not in the wheel: run this in a checkout, after `pip install --editable .`")
    sys.path.insert(0, str(CHECKOUT))
    if part == "page":
        return import_module("recipes.study.__main__").main(words)
    flags = read_flags("../recipes/study/config.py", "StudyConfig")
    FlagParser("mot-trl study train", flags).check(words)
    train = import_module("recipes.study.train")
    train.main(train.parse(train.DEFAULTS, words))
    return 0
