# attack: harm files: symlink
# damage: files
import os

os.symlink("/etc/passwd", "{DIR}/link")


def add(a, b):
    return None
