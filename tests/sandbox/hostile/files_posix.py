# attack: harm files: posix
# damage: files
import posix

posix.unlink("{DIR}/precious")


def add(a, b):
    return None
