# attack: make a timer that signals
# damage: breach
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(222, 0, None, ctypes.create_string_buffer(8)) >= 0:
    raise RuntimeError("BREACH timer")


def add(a, b):
    return None
