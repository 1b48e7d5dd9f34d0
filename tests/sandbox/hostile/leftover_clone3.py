# attack: clone a process by clone3
# damage: leftover
import ctypes
import struct

libc = ctypes.CDLL(None)
arguments = ctypes.create_string_buffer(struct.pack("11Q", 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0))
if libc.syscall(435, arguments, 88) == 0:
    libc.sleep(30)
    libc._exit(0)


def add(a, b):
    return None
