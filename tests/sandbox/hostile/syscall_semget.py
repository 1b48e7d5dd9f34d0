# attack: make semaphores
# damage: breach
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(64, 0, 1, 0o1600) >= 0:
    raise RuntimeError("BREACH semget")


def add(a, b):
    return None
