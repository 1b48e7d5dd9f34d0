# attack: wait for a lock forever
import threading

lock = threading.Lock()
lock.acquire()
lock.acquire()


def add(a, b):
    return None
