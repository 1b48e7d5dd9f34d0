# attack: harm files: io
# damage: files
import _io

_io.FileIO("{DIR}/precious", "w").write(b"gone")


def add(a, b):
    return None
