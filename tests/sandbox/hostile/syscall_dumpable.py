# attack: become readable for others
# damage: breach
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(157, 4, 1, 0, 0, 0) >= 0:
    raise RuntimeError("BREACH dumpable")


def add(a, b):
    return None
