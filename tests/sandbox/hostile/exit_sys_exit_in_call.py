# attack: leave with success when asked
import sys


def add(a, b):
    sys.exit(0)
