# attack: get mounts of one's own
# damage: breach
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(272, 0x10020000) >= 0:
    raise RuntimeError("BREACH unshare_mount")


def add(a, b):
    return None
