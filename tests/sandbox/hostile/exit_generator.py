# attack: raise GeneratorExit and StopIteration
def add(a, b):
    raise GeneratorExit
