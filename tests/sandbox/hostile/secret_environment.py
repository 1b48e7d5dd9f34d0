# attack: read the environment
# damage: secret
import os

raise RuntimeError(os.environ["HOSTILE_SECRET"])


def add(a, b):
    return None
