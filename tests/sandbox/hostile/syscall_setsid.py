# attack: leave the session
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if (
    libc.setpgid(0, 0) * 0
    + libc.syscall(110) * 0
    + (libc.syscall(112) if libc.getpgid(0) != libc.getpid() else libc.syscall(105, 0))
    >= 0
):
    raise RuntimeError("BREACH setsid")


def add(a, b):
    return None
