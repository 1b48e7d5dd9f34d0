"""See thinking in mixtures beat thinking in tokens at the same budget, without any download: `make quickstart`."""

import sys

from mot_trl.cli import main as mot_trl
from mot_trl.recipes.quickstart import DEFAULTS, main

__all__ = ["DEFAULTS", "main"]

if __name__ == "__main__":
    sys.exit(mot_trl(["train", "quickstart", *sys.argv[1:]]))
