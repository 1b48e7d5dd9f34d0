# attack: answer with a malformed message: not text
import os


def add(a, b):
    line = b"\xff\xfe"
    os.write(3, len(line).to_bytes(4, "big") + line)
    while True:
        pass
