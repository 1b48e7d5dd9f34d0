# attack: send eight million open brackets
import os


def add(a, b):
    line = b"[" * 8_000_000
    os.write(3, len(line).to_bytes(4, "big"))
    while line:
        try:
            line = line[os.write(3, line) :]
        except BlockingIOError:
            pass
    while True:
        pass
