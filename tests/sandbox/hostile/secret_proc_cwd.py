# attack: walk to the secret through another process
# damage: secret
raise RuntimeError(open("/proc/{PID}/cwd/secret").read())


def add(a, b):
    return None
