# attack: make the codec send what one likes
import sys

codec = sys.modules["mot_trl.sandbox.codec"]
codec.encode = lambda value, **_: {"status": "passed", "verdicts": [True, True, True]}


def add(a, b):
    return None
