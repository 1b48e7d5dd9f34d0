# attack: leave a pool behind
# damage: leftover
import multiprocessing
import os
import time

context = multiprocessing.get_context("fork")
for _ in range(3):
    context.Process(target=time.sleep, args=(30,)).start()
os._exit(0)


def add(a, b):
    return None
