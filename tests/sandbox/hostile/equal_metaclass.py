# attack: claim to be an instance of everything
class Meta(type):
    def __instancecheck__(cls, value):
        return True

    def __subclasscheck__(cls, value):
        return True

    def __eq__(cls, other):
        return True

    def __hash__(cls):
        return 0


class Everything(metaclass=Meta):
    pass


def add(a, b):
    return Everything
