# attack: raise GeneratorExit
def add(a, b):
    raise GeneratorExit
