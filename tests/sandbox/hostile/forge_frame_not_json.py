# attack: answer with a malformed message: not json
import os


def add(a, b):
    line = b"passed"
    os.write(3, len(line).to_bytes(4, "big") + line)
    while True:
        pass
