# attack: copy between files in the kernel
# damage: breach
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(40, 1, libc.open(b"{DIR}/secret", 0), None, 10) >= 0:
    raise RuntimeError("BREACH sendfile")


def add(a, b):
    return None
