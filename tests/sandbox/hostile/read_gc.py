# attack: look for the tests among all objects
import gc
import sys

needle = "".join(reversed("(dda tressa"))
held = list(gc.get_objects()) + list(sys.modules.values())
for value in held:
    for inner in gc.get_referents(value):
        if type(inner) is str and inner is not needle and needle in inner:
            raise RuntimeError("BREACH gc")


def add(a, b):
    return None
