# attack: pretend that the sandbox failed
import os

line = b'{"failed":"landlock"}'
os.write(3, len(line).to_bytes(4, "big") + line)
os._exit(1)


def add(a, b):
    return None
