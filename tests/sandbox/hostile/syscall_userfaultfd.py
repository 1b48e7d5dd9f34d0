# attack: stop the kernel in a page fault
# damage: breach
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(323, 1) >= 0:
    raise RuntimeError("BREACH userfaultfd")


def add(a, b):
    return None
