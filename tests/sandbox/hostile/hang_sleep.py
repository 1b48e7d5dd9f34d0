# attack: sleep past the deadline
import time

time.sleep(1000)


def add(a, b):
    return None
