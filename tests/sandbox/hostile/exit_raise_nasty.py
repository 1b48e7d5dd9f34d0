# attack: raise what cannot be described
class NastyError(BaseException):
    def __str__(self):
        raise self

    __repr__ = __str__


def add(a, b):
    raise NastyError
