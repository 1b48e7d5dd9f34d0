# attack: trace the harness
import sys


def tracer(frame, event, argument):
    frame.f_trace_lines = True
    for name in list(frame.f_locals):
        if "verdict" in name:
            raise RuntimeError("BREACH traced")
    return tracer


sys.settrace(tracer)
sys.setprofile(tracer)


def add(a, b):
    return None
