# attack: start threads without end
import threading
import time

threading.stack_size(32768)
count = 0
try:
    while count < 100_000:
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
        count += 1
except BaseException:
    pass
if count > 5_000:
    raise RuntimeError("BREACH threads")


def add(a, b):
    return None
