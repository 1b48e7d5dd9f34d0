# attack: read a file
# damage: secret
raise RuntimeError(open("{DIR}/secret").read())


def add(a, b):
    return None
