# attack: read address zero
import ctypes

ctypes.string_at(0)


def add(a, b):
    return None
