# attack: fork behind Python
# damage: leftover
import ctypes

libc = ctypes.CDLL(None)
if libc.fork() == 0:
    libc.setsid()
    libc.sleep(30)
    libc._exit(0)


def add(a, b):
    return None
