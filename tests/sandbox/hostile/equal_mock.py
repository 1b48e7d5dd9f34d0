# attack: answer with a mock
from unittest.mock import MagicMock

answer = MagicMock()
answer.__eq__.side_effect = lambda other: True


def add(a, b):
    return answer
