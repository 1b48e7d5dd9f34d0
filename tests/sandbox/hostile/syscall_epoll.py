# attack: make an event queue
# damage: breach
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(291, 0) >= 0:
    raise RuntimeError("BREACH epoll")


def add(a, b):
    return None
