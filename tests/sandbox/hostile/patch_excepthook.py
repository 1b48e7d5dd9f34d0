# attack: claim success when it goes wrong
import os
import sys

sys.excepthook = lambda *_: os._exit(0)
raise ValueError


def add(a, b):
    return None
