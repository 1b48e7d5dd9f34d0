# attack: use the x32 entry
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(0x40000000 | 39) >= 0:
    raise RuntimeError("BREACH x32")


def add(a, b):
    return None
