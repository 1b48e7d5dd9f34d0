# attack: harm files: unlink
# damage: files
import os

os.unlink("{DIR}/precious")


def add(a, b):
    return None
