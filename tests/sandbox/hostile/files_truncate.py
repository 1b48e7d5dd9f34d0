# attack: harm files: truncate
# damage: files
import os

os.truncate("{DIR}/precious", 0)


def add(a, b):
    return None
