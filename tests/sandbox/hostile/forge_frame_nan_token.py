# attack: answer with a malformed message: nan token
import os


def add(a, b):
    line = b'{"value":NaN}'
    os.write(3, len(line).to_bytes(4, "big") + line)
    while True:
        pass
