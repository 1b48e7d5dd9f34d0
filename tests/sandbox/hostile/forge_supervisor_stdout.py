# attack: write to the terminal of the supervisor
import os

for file in ("/dev/tty", "/dev/stdout", "/proc/self/fd/1", "/dev/pts/0"):
    try:
        os.write(os.open(file, os.O_WRONLY), b"passed")
    except OSError:
        pass


def add(a, b):
    return None
