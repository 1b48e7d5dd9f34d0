# attack: walk the traceback up
import sys


def add(a, b):
    try:
        raise ValueError
    except ValueError:
        frame = sys.exc_info()[2].tb_frame
    while frame.f_back:
        frame = frame.f_back
        if "tests" in frame.f_globals or "tests" in frame.f_locals:
            raise RuntimeError("BREACH traceback")
