# attack: make an event
# damage: breach
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(290, 0, 0) >= 0:
    raise RuntimeError("BREACH eventfd")


def add(a, b):
    return None
