# attack: harm files through a shell
# damage: files
import os

os.system("rm {DIR}/precious")


def add(a, b):
    return None
