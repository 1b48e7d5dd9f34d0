# attack: clone a process
# damage: leftover
import ctypes

libc = ctypes.CDLL(None)
if libc.syscall(56, 17, 0, 0, 0, 0) == 0:
    libc.sleep(30)
    libc._exit(0)


def add(a, b):
    return None
