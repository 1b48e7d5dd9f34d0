# attack: harm files: mkfifo
# damage: files
import os

os.mkfifo("{DIR}/pipe")


def add(a, b):
    return None
