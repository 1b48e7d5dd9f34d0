# attack: send the answer byte by byte, forever
import os
import time


def add(a, b):
    os.write(3, (1000).to_bytes(4, "big"))
    while True:
        os.write(3, b" ")
        time.sleep(0.01)
