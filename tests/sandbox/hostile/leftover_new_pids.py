# attack: hide a child in namespaces of its own
# damage: leftover
import ctypes
import os
import time

ctypes.CDLL(None).unshare(0x30000000)
if os.fork() == 0:
    os.setsid()
    time.sleep(30)
    os._exit(0)


def add(a, b):
    return None
