# attack: open by the newer call
# damage: breach
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(437, -100, b"{DIR}/secret", ctypes.create_string_buffer(24), 24) >= 0:
    raise RuntimeError("BREACH openat2")


def add(a, b):
    return None
