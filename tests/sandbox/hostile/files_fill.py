# attack: harm files: fill
# damage: files
open("{DIR}/big", "wb").write(bytes(4 << 20))


def add(a, b):
    return None
