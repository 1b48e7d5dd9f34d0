# attack: mount a file system
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(165, b"none", b"/tmp", b"tmpfs", 0, None) >= 0:
    raise RuntimeError("BREACH mount")


def add(a, b):
    return None
