# attack: get hold of another process
# damage: breach
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(434, {PID}, 0) >= 0:
    raise RuntimeError("BREACH pidfd_open")


def add(a, b):
    return None
