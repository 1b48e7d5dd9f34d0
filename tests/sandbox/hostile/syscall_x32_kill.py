# attack: kill through the x32 entry
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(0x40000000 | 62, {PID}, 9) >= 0:
    raise RuntimeError("BREACH x32_kill")


def add(a, b):
    return None
