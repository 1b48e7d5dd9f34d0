# attack: leave a daemon behind
# damage: leftover
import os
import time

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(30)
    os._exit(0)
os.wait()


def add(a, b):
    return None
