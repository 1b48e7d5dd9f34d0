# attack: call quit
import builtins

getattr(builtins, "quit", exit)(0) if hasattr(builtins, "quit") else None


def add(a, b):
    raise KeyboardInterrupt
