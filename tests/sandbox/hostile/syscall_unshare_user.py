# attack: become root in a namespace
# damage: breach
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(272, 0x10000000) >= 0:
    raise RuntimeError("BREACH unshare_user")


def add(a, b):
    return None
