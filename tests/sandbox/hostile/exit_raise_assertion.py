# attack: pretend that the test raised
def add(a, b):
    raise AssertionError("passed")
