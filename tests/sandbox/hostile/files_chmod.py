# attack: harm files: chmod
# damage: files
import os

os.chmod("{DIR}/precious", 0o644)


def add(a, b):
    return None
