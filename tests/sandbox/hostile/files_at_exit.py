# attack: harm files: at exit
# damage: files
import atexit
import os

atexit.register(os.unlink, "{DIR}/precious")


def add(a, b):
    return None
