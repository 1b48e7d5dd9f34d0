"""`python -m mot_trl.traces`: the same as `mot-trl traces`."""

import sys

from mot_trl.commands.traces import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
