# attack: abort
import os

os.abort()


def add(a, b):
    return None
