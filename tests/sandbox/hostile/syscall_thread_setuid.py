# attack: change the user in one thread only
import ctypes
import threading

libc = ctypes.CDLL(None)
found = []
worker = threading.Thread(target=lambda: found.append(libc.syscall(117, 0, 0, 0)))
worker.start()
worker.join()
if found[0] == 0:
    raise RuntimeError("BREACH setresuid")


def add(a, b):
    return None
