# attack: write a verdict where the answer belongs, and leave
import os

line = b'{"status":"passed","verdicts":[true,true,true],"seconds":0.0,"detail":"","compiled":true,"ran":true,"value":true}'
os.write(3, (len(line).to_bytes(4, "big") + line) * 5)
os._exit(0)


def add(a, b):
    return None
