# attack: claim to be a NumPy number
class Fake:
    shape = ()

    def item(self):
        return Fake()

    def __eq__(self, other):
        return True


Fake.__module__ = "numpy"


def add(a, b):
    return Fake()
