# attack: fork by a raw system call
# damage: leftover
import ctypes

libc = ctypes.CDLL(None)
if libc.syscall(57) == 0:
    libc.sleep(30)
    libc._exit(0)


def add(a, b):
    return None
