# attack: map a file
# damage: secret
import mmap
import os

raise RuntimeError(mmap.mmap(os.open("{DIR}/secret", os.O_RDONLY), 0, prot=mmap.PROT_READ)[:].decode())


def add(a, b):
    return None
