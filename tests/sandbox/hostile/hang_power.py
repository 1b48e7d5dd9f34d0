# attack: compute a number too large for the universe, in one C call
9**9**9


def add(a, b):
    return None
