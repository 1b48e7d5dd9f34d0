# attack: make a file that lies in no directory
# damage: breach
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(319, b"x", 0) >= 0:
    raise RuntimeError("BREACH memfd")


def add(a, b):
    return None
