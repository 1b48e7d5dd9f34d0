# attack: put modules in the way of imports
import sys

for name in ("math", "json", "unittest", "pytest"):
    sys.modules[name] = None
sys.meta_path.clear()
sys.path.clear()


def add(a, b):
    return None
