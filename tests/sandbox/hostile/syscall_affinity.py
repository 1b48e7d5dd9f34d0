# attack: move to another processor
# damage: breach
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(203, 0, 8, ctypes.create_string_buffer(b"\xff\xff\xff\xff\xff\xff\xff\xff")) >= 0:
    raise RuntimeError("BREACH affinity")


def add(a, b):
    return None
