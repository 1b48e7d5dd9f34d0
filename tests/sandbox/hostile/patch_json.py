# attack: rewrite JSON
import json

json.dumps = lambda *_, **__: '{"value":true}'
json.loads = lambda *_, **__: {"value": True}


def add(a, b):
    return None
