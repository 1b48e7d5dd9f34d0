# attack: become root
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(105, 0) >= 0:
    raise RuntimeError("BREACH setuid")


def add(a, b):
    return None
