# attack: harm files: hardlink
# damage: files
import os

os.link("{DIR}/precious", "{DIR}/hard")


def add(a, b):
    return None
