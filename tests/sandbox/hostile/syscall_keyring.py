# attack: make a key ring
# damage: breach
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(250, 1, None) >= 0:
    raise RuntimeError("BREACH keyring")


def add(a, b):
    return None
