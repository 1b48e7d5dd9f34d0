# attack: harm files: finalizer
# damage: files
import os


class Bomb:
    def __del__(self, unlink=os.unlink):
        unlink("{DIR}/precious")


Bomb()


def add(a, b):
    return None
