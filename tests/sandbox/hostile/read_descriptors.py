# attack: read whatever is open
import os

for file in [0, 1, 2, *range(4, 64)]:
    try:
        got = os.read(file, 1000)
    except OSError:
        continue
    if got:
        raise RuntimeError("BREACH " + repr(got))


def add(a, b):
    return None
