# attack: change one's filter
# damage: breach
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(317, 2, 0, ctypes.create_string_buffer((0x7FFF0000).to_bytes(4, "little"))) >= 0:
    raise RuntimeError("BREACH seccomp")


def add(a, b):
    return None
