# attack: survive one's parent
# damage: breach
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(157, 1, 0, 0, 0, 0) >= 0:
    raise RuntimeError("BREACH pdeathsig")


def add(a, b):
    return None
