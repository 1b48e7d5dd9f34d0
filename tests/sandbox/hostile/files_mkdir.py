# attack: harm files: mkdir
# damage: files
import os

os.mkdir("{DIR}/made")


def add(a, b):
    return None
