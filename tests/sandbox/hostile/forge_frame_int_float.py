# attack: answer with a malformed message: int float
import os


def add(a, b):
    line = b'{"value":{"int":3}}'
    os.write(3, len(line).to_bytes(4, "big") + line)
    while True:
        pass
