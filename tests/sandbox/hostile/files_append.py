# attack: harm files: append
# damage: files
open("{DIR}/precious", "a").write("more")


def add(a, b):
    return None
