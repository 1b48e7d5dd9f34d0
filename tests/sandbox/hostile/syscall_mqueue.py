# attack: make a POSIX message queue
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(240, b"hostile{PID}", 0o102, 0o600, None) >= 0:
    raise RuntimeError("BREACH mqueue")


def add(a, b):
    return None
