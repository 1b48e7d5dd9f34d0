# attack: watch the processor
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(298, ctypes.create_string_buffer(bytes([1, 0, 0, 0, 112]), 128), 0, -1, -1, 0) >= 0:
    raise RuntimeError("BREACH perf")


def add(a, b):
    return None
