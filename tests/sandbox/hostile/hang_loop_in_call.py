# attack: never answer
def add(a, b):
    while True:
        pass
