# attack: wait for a lock for ever
import threading

lock = threading.Lock()
lock.acquire()
lock.acquire()


def add(a, b):
    return None
