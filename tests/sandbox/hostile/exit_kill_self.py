# attack: kill oneself
import os

os.kill(os.getpid(), 9)
os._exit(0)


def add(a, b):
    return None
