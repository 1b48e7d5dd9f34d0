# attack: answer with a malformed message: unknown
import os


def add(a, b):
    line = b'{"value":{"verdict":true}}'
    os.write(3, len(line).to_bytes(4, "big") + line)
    while True:
        pass
