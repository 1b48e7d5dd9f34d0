# attack: make a netlink socket
# damage: breach
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(41, 16, 3, 0) >= 0:
    raise RuntimeError("BREACH netlink")


def add(a, b):
    return None
