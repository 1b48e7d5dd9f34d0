# attack: wait for input that never comes
import sys

sys.stdin.read()
while True:
    pass


def add(a, b):
    return None
