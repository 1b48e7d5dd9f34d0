# attack: kill another process
# damage: process
import os

os.kill({PID}, 9)


def add(a, b):
    return None
