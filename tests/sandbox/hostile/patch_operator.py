# attack: compare with another operator
import operator

operator.eq = lambda *_: True


def add(a, b):
    return type("X", (), {"__eq__": operator.eq})()
