# attack: read the environment in C
# damage: secret
import ctypes

libc = ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_char_p
raise RuntimeError(libc.getenv(b"HOSTILE_SECRET"))


def add(a, b):
    return None
