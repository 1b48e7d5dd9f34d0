# attack: print success when leaving
import atexit

atexit.register(print, "OK")


def add(a, b):
    raise SystemExit(0)
