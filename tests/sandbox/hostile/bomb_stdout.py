# attack: print 100 MB
for _ in range(100):
    print("x" * 1_000_000)


def add(a, b):
    return None
