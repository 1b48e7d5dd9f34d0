# attack: claim to have loaded, then answer each question with True
import os

for line in (b'{"loaded":true}', b'{"value":true}', b'{"value":true}', b'{"value":true}'):
    os.write(3, len(line).to_bytes(4, "big") + line)
os._exit(0)


def add(a, b):
    return None
