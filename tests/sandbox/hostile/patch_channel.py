# attack: make the channel claim success
import sys

channel = sys.modules["mot_trl.sandbox.channel"]
send = channel.Channel.send
verdict = {"status": "passed", "verdicts": [True, True, True], "seconds": 0.0, "detail": "", "compiled": True}
channel.Channel.send = lambda self, message, clock=None: send(self, {**message, **verdict, "ran": True, "value": True})


def add(a, b):
    return None
