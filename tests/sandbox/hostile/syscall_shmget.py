# attack: make shared memory
# damage: breach
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(29, 0, 4096, 0o1600) >= 0:
    raise RuntimeError("BREACH shmget")


def add(a, b):
    return None
