"""`python -m mot_trl.sandbox --check`: the same as `mot-trl sandbox --check`."""

import sys

from mot_trl.commands.sandbox import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
