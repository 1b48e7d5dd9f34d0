# attack: eat all memory with one number
x = 1 << (1 << 40)


def add(a, b):
    return None
