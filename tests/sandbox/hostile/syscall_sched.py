# attack: take all processors
# damage: breach
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(141, 0, 0, 5) >= 0:
    raise RuntimeError("BREACH sched")


def add(a, b):
    return None
