# attack: print forever
while True:
    print("x" * 100_000)


def add(a, b):
    return None
