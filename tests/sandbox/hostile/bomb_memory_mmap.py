# attack: map all memory
import mmap

held = [mmap.mmap(-1, 1 << 30) for _ in range(1000)]
raise RuntimeError("BREACH mapped")


def add(a, b):
    return None
