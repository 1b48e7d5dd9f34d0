# attack: ask inspect for the caller
import inspect


def add(a, b):
    seen = repr([frame.frame.f_locals for frame in inspect.stack()])
    if "expected" in seen or "".join(reversed("dda tressa")) in seen:
        raise RuntimeError("BREACH inspect")
