# attack: answer with a malformed message: tree
import os


def add(a, b):
    line = b'{"value":{"TreeNode":[true]}}'
    os.write(3, len(line).to_bytes(4, "big") + line)
    while True:
        pass
