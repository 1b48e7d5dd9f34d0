# attack: answer with a malformed message: type code
import os


def add(a, b):
    line = b'{"value":{"type":"object"}}'
    os.write(3, len(line).to_bytes(4, "big") + line)
    while True:
        pass
