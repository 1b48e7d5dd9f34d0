# attack: claim to be an int
class Fake:
    __class__ = int

    def __eq__(self, other):
        return True

    def __index__(self):
        return 3

    def __int__(self):
        return 3

    def __add__(self, other):
        return self

    def __format__(self, how):
        return "3"


def add(a, b):
    return Fake()
