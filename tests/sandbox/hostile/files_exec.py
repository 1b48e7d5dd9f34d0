# attack: become another program
# damage: files
import os

os.execv("/bin/rm", ["rm", "{DIR}/precious"])


def add(a, b):
    return None
