# attack: harm files: utime
# damage: files
import os

os.utime("{DIR}/precious", (1, 1))


def add(a, b):
    return None
