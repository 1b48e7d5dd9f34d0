# attack: read another process's environment
# damage: secret
raise RuntimeError(open("/proc/{PID}/environ").read()[-400:])


def add(a, b):
    return None
