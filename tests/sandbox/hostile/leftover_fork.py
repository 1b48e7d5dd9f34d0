# attack: leave a child behind
# damage: leftover
import os
import time

if os.fork() == 0:
    time.sleep(30)
    os._exit(0)


def add(a, b):
    return None
