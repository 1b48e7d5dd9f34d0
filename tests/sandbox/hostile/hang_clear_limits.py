# attack: lift the limits on processor time, then never end
import resource

for name in ("RLIMIT_CPU", "RLIMIT_AS"):
    try:
        resource.setrlimit(getattr(resource, name), (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        raise RuntimeError("BREACH " + name)
    except (ValueError, OSError):
        pass
while True:
    pass


def add(a, b):
    return None
