# attack: answer with a list that holds itself
def add(a, b):
    value = []
    value.append(value)
    return value
