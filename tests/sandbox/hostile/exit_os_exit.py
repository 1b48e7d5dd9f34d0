# attack: end the process with success
import os

os._exit(0)


def add(a, b):
    return None
