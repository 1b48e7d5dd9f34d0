# attack: make the harness keep objects without end
class Thing:
    pass


def add(a, b):
    return [Thing() for _ in range(500_000)]
