# attack: harm files: create
# damage: files
open("{DIR}/new", "w").close()


def add(a, b):
    return None
