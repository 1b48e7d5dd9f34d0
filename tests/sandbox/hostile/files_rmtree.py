# attack: harm files: rmtree
# damage: files
import shutil

shutil.rmtree("{DIR}/inner")


def add(a, b):
    return None
