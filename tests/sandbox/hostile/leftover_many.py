# attack: leave twenty children behind
# damage: leftover
import os
import time

for _ in range(20):
    if os.fork() == 0:
        os.setpgid(0, 0)
        time.sleep(30)
        os._exit(0)


def add(a, b):
    return None
