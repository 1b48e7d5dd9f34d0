# attack: keep threads busy past the deadline
import threading


def spin():
    while True:
        pass


for _ in range(8):
    threading.Thread(target=spin, daemon=False).start()


def add(a, b):
    return None
