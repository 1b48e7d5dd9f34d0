# attack: switch off address randomisation
# damage: breach
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(135, 0x0040000) >= 0:
    raise RuntimeError("BREACH personality")


def add(a, b):
    return None
