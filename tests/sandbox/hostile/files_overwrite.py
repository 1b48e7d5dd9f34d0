# attack: harm files: overwrite
# damage: files
open("{DIR}/precious", "w").write("gone")


def add(a, b):
    return None
