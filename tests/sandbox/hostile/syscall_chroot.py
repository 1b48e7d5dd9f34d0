# attack: change the root
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(161, b"/") >= 0:
    raise RuntimeError("BREACH chroot")


def add(a, b):
    return None
