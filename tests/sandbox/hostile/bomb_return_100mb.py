# attack: answer 100 MB
def add(a, b):
    return "x" * 100_000_000
