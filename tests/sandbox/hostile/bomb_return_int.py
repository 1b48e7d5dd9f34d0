# attack: answer with a number of a million digits
def add(a, b):
    return 1 << 30_000_000
