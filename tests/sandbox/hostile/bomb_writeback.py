# attack: grow the arguments
def add(a, b):
    if isinstance(a, list):
        a.extend(range(100_000_000))
    return "x" * 9_000_000
