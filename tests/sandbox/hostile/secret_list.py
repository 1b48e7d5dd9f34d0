# attack: list a directory
# damage: secret
import os

raise RuntimeError(os.listdir("{DIR}/names"))


def add(a, b):
    return None
