# attack: connect by raw system calls
# damage: network
import ctypes
import struct

libc = ctypes.CDLL(None)
file = libc.socket(2, 1, 0)
address = struct.pack("<H", 2) + struct.pack(">H", {PORT}) + bytes([127, 0, 0, 1]) + bytes(8)
libc.connect(file, address, 16)
libc.send(file, b"hello", 5, 0)


def add(a, b):
    return None
