# attack: watch files
# damage: breach
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(253) >= 0:
    raise RuntimeError("BREACH inotify")


def add(a, b):
    return None
