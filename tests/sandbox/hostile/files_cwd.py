# attack: harm files: cwd
# damage: files
import os

os.chdir("{DIR}")
os.unlink("precious")


def add(a, b):
    return None
