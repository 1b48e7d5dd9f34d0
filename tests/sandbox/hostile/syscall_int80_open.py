# attack: open a file through the 32-bit entry
# damage: breach
import ctypes
import mmap
import struct

# A path below 4 GiB, for a 32-bit pointer: mmap with MAP_32BIT.
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
low = libc.mmap(None, ctypes.c_size_t(4096), 3, 0x62, -1, ctypes.c_long(0))
ctypes.memmove(low, b"{DIR}/secret\0", len("{DIR}/secret") + 1)
code = b"\x53\xb8\x05\0\0\0\xbb" + struct.pack("<I", low) + b"\x31\xc9\x31\xd2\xcd\x80\x5b\xc3"
page = mmap.mmap(-1, 4096, prot=7)
page.write(code)
if ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))() >= 0:
    raise RuntimeError("BREACH int80")


def add(a, b):
    return None
