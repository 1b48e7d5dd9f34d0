# attack: look for the tests in the frames above
import sys

frame = sys._getframe()
seen = ""
while frame is not None:
    seen += repr(frame.f_locals) + repr(frame.f_code.co_consts)
    frame = frame.f_back
if "".join(reversed("dda tressa")) in seen:
    raise RuntimeError("BREACH frames")


def add(a, b):
    return None
