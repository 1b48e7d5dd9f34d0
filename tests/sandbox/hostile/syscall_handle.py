# attack: open a file by its handle
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(304, -100, ctypes.create_string_buffer(64), 0) >= 0:
    raise RuntimeError("BREACH handle")


def add(a, b):
    return None
