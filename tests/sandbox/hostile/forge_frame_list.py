# attack: answer with a malformed message: list
import os


def add(a, b):
    line = b"[true,true,true]"
    os.write(3, len(line).to_bytes(4, "big") + line)
    while True:
        pass
