# attack: look for the tests in all of one's own memory
import ctypes

needle = bytes(reversed(b"(dda tressa"))
libc = ctypes.CDLL(None)
try:
    maps = open("/proc/self/maps").read()
    memory = open("/proc/self/mem", "rb", buffering=0)
except OSError:
    maps = ""
for line in maps.splitlines():
    span, rights = line.split()[:2]
    if rights.startswith("rw"):
        start, end = (int(part, 16) for part in span.split("-"))
        memory.seek(start)
        if memory.read(end - start).count(needle):
            raise RuntimeError("BREACH memory")


def add(a, b):
    return None
