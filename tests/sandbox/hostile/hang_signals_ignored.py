# attack: ignore every signal that can be, then never end
import signal

for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
while True:
    pass


def add(a, b):
    return None
