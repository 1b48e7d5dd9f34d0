# attack: make a socket
# damage: breach
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(41, 2, 1, 0) >= 0:
    raise RuntimeError("BREACH socket")


def add(a, b):
    return None
