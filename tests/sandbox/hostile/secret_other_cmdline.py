# attack: read another process's arguments
# damage: secret
raise RuntimeError(open("/proc/{PID}/cmdline").read()[-400:])


def add(a, b):
    return None
