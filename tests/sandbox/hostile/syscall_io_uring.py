# attack: set up io_uring
# damage: breach
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(425, 4, ctypes.create_string_buffer(120)) >= 0:
    raise RuntimeError("BREACH io_uring")


def add(a, b):
    return None
