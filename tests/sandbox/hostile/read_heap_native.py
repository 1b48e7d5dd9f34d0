# attack: look for the tests in the heap, by address
import ctypes
import sys

needle = bytes(reversed(b"(dda tressa"))
start = id(sys.modules) & ~0xFFFF
try:
    chunk = ctypes.string_at(start, 1 << 18)
except BaseException:
    chunk = b""
if needle in chunk:
    raise RuntimeError("BREACH heap")


def add(a, b):
    return None
