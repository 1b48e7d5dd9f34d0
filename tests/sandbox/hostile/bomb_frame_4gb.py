# attack: announce four gigabytes and send nothing
import os


def add(a, b):
    os.write(3, b"\xff\xff\xff\xff")
    while True:
        pass
