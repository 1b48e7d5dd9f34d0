# attack: hang while the answer is read
class Slow(list):
    def __iter__(self):
        while True:
            pass

    def __len__(self):
        while True:
            pass


class Endless:
    @property
    def __class__(self):
        while True:
            pass


def add(a, b):
    return Endless()
