# attack: limit another process
# damage: breach
import resource

resource.prlimit({PID}, resource.RLIMIT_CORE, (0, 0))
raise RuntimeError("BREACH prlimit")


def add(a, b):
    return None
