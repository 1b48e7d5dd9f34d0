# attack: harm files: thread
# damage: files
import os
import threading

worker = threading.Thread(target=os.unlink, args=("{DIR}/precious",))
worker.start()
worker.join()


def add(a, b):
    return None
