# attack: open files without end
import os

held = []
try:
    while len(held) < 10_000:
        held.append(os.dup(0))
except OSError:
    pass
if len(held) >= 10_000:
    raise RuntimeError("BREACH files")


def add(a, b):
    return None
