# attack: read the users
# damage: breach
raise RuntimeError("BREACH " + open("/etc/passwd").read().split()[0])


def add(a, b):
    return None
