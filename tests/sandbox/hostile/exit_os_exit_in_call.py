# attack: end the process with success when asked
import os


def add(a, b):
    os._exit(0)
