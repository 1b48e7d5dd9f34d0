# attack: end the process by a raw system call
import ctypes

ctypes.CDLL(None).syscall(231, 0)


def add(a, b):
    return None
