# attack: read a file by raw system calls
# damage: secret
import ctypes

libc = ctypes.CDLL(None)
buffer = ctypes.create_string_buffer(100)
libc.read(libc.open(b"{DIR}/secret", 0), buffer, 99)
raise RuntimeError(buffer.value)


def add(a, b):
    return None
