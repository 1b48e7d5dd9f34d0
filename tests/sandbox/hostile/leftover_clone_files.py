# attack: clone a process that shares files, as a thread would
# damage: leftover
import ctypes

libc = ctypes.CDLL(None)
# CLONE_FS | CLONE_FILES, and SIGCHLD: a process, whatever it shares.
if libc.syscall(56, 17 | 0x400 | 0x200, 0, 0, 0, 0) == 0:
    libc.sleep(30)
    libc._exit(0)


def add(a, b):
    return None
