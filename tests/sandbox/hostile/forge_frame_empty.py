# attack: answer with a malformed message: empty
import os


def add(a, b):
    line = b""
    os.write(3, len(line).to_bytes(4, "big") + line)
    while True:
        pass
