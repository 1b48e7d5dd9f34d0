# attack: have the kernel send the signal
# damage: process
import fcntl
import os

reader, writer = os.pipe()
fcntl.fcntl(reader, 10, 9)  # F_SETSIG, SIGKILL
fcntl.fcntl(reader, fcntl.F_SETOWN, {PID})
fcntl.fcntl(reader, fcntl.F_SETFL, os.O_ASYNC)
os.write(writer, b"x")


def add(a, b):
    return None
