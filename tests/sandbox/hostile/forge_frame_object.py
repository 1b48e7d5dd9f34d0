# attack: answer with a malformed message: object
import os


def add(a, b):
    line = b'{"value":{"object":99999}}'
    os.write(3, len(line).to_bytes(4, "big") + line)
    while True:
        pass
