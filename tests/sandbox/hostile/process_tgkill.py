# attack: kill a thread of another process
# damage: process
import ctypes

ctypes.CDLL(None).syscall(234, {PID}, {PID}, 9)


def add(a, b):
    return None
