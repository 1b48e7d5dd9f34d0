# attack: close every file and go on
import os

os.closerange(0, 64)


def add(a, b):
    return a + b
