# attack: make memory that the kernel cannot read
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(447, 0) >= 0:
    raise RuntimeError("BREACH memfd_secret")


def add(a, b):
    return None
