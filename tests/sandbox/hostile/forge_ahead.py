# attack: answer before being asked
import os

for line in [b'{"loaded":true}'] + [b'{"value":{"int":"2a"}}'] * 10:
    os.write(3, len(line).to_bytes(4, "big") + line)
while True:
    pass


def add(a, b):
    return None
