# attack: answer with not-a-number
def add(a, b):
    return float("nan")
