# attack: read the environment as it was at the start
# damage: secret
raise RuntimeError(open("/proc/self/environ").read())


def add(a, b):
    return None
