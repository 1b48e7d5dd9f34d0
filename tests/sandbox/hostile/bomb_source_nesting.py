# attack: crash the compiler
x = ()


def add(a, b):
    return None
