# attack: make a message queue
# damage: breach
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(68, 0, 0o1600) >= 0:
    raise RuntimeError("BREACH msgget")


def add(a, b):
    return None
