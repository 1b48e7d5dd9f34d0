# attack: match for ever, in one C call
import re

re.match("(a+)+b", "a" * 60)


def add(a, b):
    return None
