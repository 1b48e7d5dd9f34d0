# attack: answer with a malformed message: pickle
import os


def add(a, b):
    line = b'{"value":{"pickle":"gASVBQAAAAAAAAB9lC4="}}'
    os.write(3, len(line).to_bytes(4, "big") + line)
    while True:
        pass
