# attack: answer with data nested without end
def add(a, b):
    value = []
    for _ in range(100_000):
        value = [value]
    return value
