# attack: answer with a malformed message: overflow flag
import os


def add(a, b):
    line = b'{"overflow":"yes","value":3}'
    os.write(3, len(line).to_bytes(4, "big") + line)
    while True:
        pass
