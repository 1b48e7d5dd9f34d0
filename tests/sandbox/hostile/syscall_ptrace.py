# attack: let oneself be traced
# damage: breach
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(101, 0, 0, 0, 0) >= 0:
    raise RuntimeError("BREACH ptrace")


def add(a, b):
    return None
