# attack: harm files: xattr
# damage: files
import os

os.setxattr("{DIR}/precious", "user.mark", b"1")


def add(a, b):
    return None
