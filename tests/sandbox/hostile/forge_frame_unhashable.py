# attack: answer with a malformed message: unhashable
import os


def add(a, b):
    line = b'{"value":{"set":[[1]]}}'
    os.write(3, len(line).to_bytes(4, "big") + line)
    while True:
        pass
