# attack: kill a group of processes
# damage: process
import os

os.killpg({PID}, 9)


def add(a, b):
    return None
