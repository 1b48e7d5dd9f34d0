# attack: make sockets that pass files
# damage: breach
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(53, 1, 1, 0, ctypes.create_string_buffer(8)) >= 0:
    raise RuntimeError("BREACH socketpair")


def add(a, b):
    return None
