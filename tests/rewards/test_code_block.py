"""The program is found wherever models put it, and nowhere else."""

import pytest

from mot_trl.rewards.code_block import code_block

DOCSTRING = 'def f():\n    """\n    Example:\n    ```\n    f()\n    ```\n    """\n'

FLAT_DOCSTRING = DOCSTRING.replace("    ```", "```")

LAST_BLOCK = [
    ("```python\na\n```", "a\n"),
    ("```python\na\n```\n```py\nb\n```\n```\nc\n```", "b\n"),
    ("```\na\n```\n```text\nb\n```", "b\n"),
    ("```python\na\n```\nand\n```python\nb", "a\n"),
    ("```python\na", None),
    ("```python\n```", ""),
    ("a", None),
    ("", None),
]
MARKERS = [
    ("````python\na\n````", "a\n"),
    ("````python\nx = '''\n```\n'''\n````", "x = '''\n```\n'''\n"),
    ("~~~python\na\n~~~", "a\n"),
    ("~~~~py\n~~~\n~~~~", "~~~\n"),
    ("```Python3   \na\n```   ", "a\n"),
    ("```Python\r\na\r\n```", "a\n"),
    ("``` python\na\n```", "a\n"),
    ('```python title="x"\na\n```\nOutput:\n```\n3\n```', "a\n"),
    ("```{.python}\na\n```\n```\nb\n```", "a\n"),
    ("```python3.11\na\n```\n```\nb\n```", "a\n"),
    ("```python:main.py\na\n```\n```\nb\n```", "a\n"),
    ("```pycon\n>>> a\n```\n```\nb\n```", "b\n"),
    ("```python-repl\n>>> a\n```\n```\nb\n```", "b\n"),
]
CONTAINERS = [
    ("  ```python\n  a\n  ```", "a\n"),
    ("1. Here:\n\n   ```python\n   a\n       b\n   ```\n2. x", "a\n    b\n"),
    ("1. a\n   - b\n\n     ```python\n     a\n     ```", "a\n"),
    ("- ```python\n  a\n  ```", "a\n"),
    ("- Here:\n\n      ```python\n      a\n      ```\n", "a\n"),
    ("- Here:\n  ```python\ndef f():\n    return 1\n  ```\n", "def f():\n    return 1\n"),
    ("1. a\n   - b\n     ```python\n     a\n     ```\n2. c\n   ```text\n   d\n   ```", "a\n"),
    ("> ```python\n> a\n> ```", "a\n"),
    ("1. Here:\n   ```python\n   def f():\n       return 1\n```\n", "def f():\n    return 1\n"),
    ("- > ```python\n  > a\n  > ```\n", "a\n"),
    ("10. Here:\n\n    ```python\n    a\n    ```\n", "a\n"),
    ("-\tHere:\n\n\t```python\n\ta\n\t```\n", "a\n"),
    ("<!-- note\n```python\nbad\n```\n-->\n```python\na\n```", "a\n"),
    ("    ```python\n    a\n    ```", "a\n"),
    ("\t```python\n\ta\n\t```", "a\n"),
    ("<div>\n```python\na\n```\n</div>", "a\n"),
    ("<details>\n<summary>x</summary>\n```python\na\n```\n</details>", "a\n"),
]
INSIDE_CODE = [
    (f"```python\n{DOCSTRING}```", DOCSTRING),
    (f"```python\n{DOCSTRING.replace('```', '```python', 1)}```", DOCSTRING.replace("```", "```python", 1)),
    (f"- x\n\n  ```python\n{''.join('  ' + line for line in DOCSTRING.splitlines(True))}  ```", DOCSTRING),
    ("```python\nx = '<think>'\n```", "x = '<think>'\n"),
    ("```python\nx = '</think>'\n```", "x = '</think>'\n"),
    ("<think>t</think>\n```python\nx = '<think>', '</think>'\n```", "x = '<think>', '</think>'\n"),
    (f"```python\n{FLAT_DOCSTRING}```", FLAT_DOCSTRING),
    (f"{'a' * 9}\n```python\n{FLAT_DOCSTRING}```\n```\n7\n```", FLAT_DOCSTRING),
    (f"```python\n{FLAT_DOCSTRING}```\n```python\nb\n```", "b\n"),
    (
        "- x\n  ```python\n" + "".join(f"  {line}" for line in FLAT_DOCSTRING.splitlines(True)) + "  ```",
        FLAT_DOCSTRING,
    ),
    ('```python\nx = """\n```\nThe end', 'x = """\n'),
    ('```python\nx = """<answer>```python"""\n```', 'x = """<answer>```python"""\n'),
    ("```python\nx = 'a\u2028b\x85c'\n\f\ny = '\x1c\x1d'\n```", "x = 'a\u2028b\x85c'\n\f\ny = '\x1c\x1d'\n"),
]
TAGS = [
    ("<answer>```python\na\n```</answer>", "a\n"),
    ("<answer>```python\na```</answer>", "a\n"),
    ("<answer>\n```python\na\n```\n</answer>", "a\n"),
    ("The answer: <answer> ```python\na\n```\n</answer>", "a\n"),
    ("<think>t</think>```python\nx\n```\n<answer>```python\ny\n```\n</answer>", "y\n"),
    ("<think>x</think>```python\na\n```", "a\n"),
    ("<think>```python\na\n```", None),
    ("<think>\n```python\na\n```", None),
    ("<think>```python\na\n```</think>done", None),
    ("draft\n```python\nd\n```\n</think>\n```python\nreal\n```", "real\n"),
    # The thinking was cut short in a block.
    ("<think>\n```python\ndef f(\n</think>\n\n```python\nreal\n```", "real\n"),
    ("<think>\n```python\ndef f(\n</think>\nno code", None),
    ("```python\nreal\n```\n<think>again", None),
    ("```python\nreal\n```\n<think>again</think>", None),
]
CLOSED_ON_CODE = [
    ("```python\na```", "a\n"),
    ("```python\ndef f(): return 1```\nThis does it.", "def f(): return 1\n"),
    ("```python\na```\n\n```python\nb```", "b\n"),
    ("- x\n  ```python\n  a```\n  y", "a\n"),
    ("> ```python\n> a```\n", "a\n"),
    ("~~~python\na~~~", "a\n"),
    ("```python\na\n```<|im_end|>", "a\n"),
    ("```python\ndef f():\n    return 1\n    ```\nDone", "def f():\n    return 1\n"),
    (f"```python\n{DOCSTRING}    return 1```", f"{DOCSTRING}    return 1\n"),
    ("```python\nx = '```'\ny```", "x = '```'\ny\n"),
]
INVISIBLE = [
    ("\ufeff```python\n\ufeffa\n```", "a\n"),
    ("x\n\u200b```python\na\n\u200b```", "a\n"),
    ("\f```python\na\n```", "a\n"),
    ("x\n\u2028```python\na\n```", "a\n"),
]


@pytest.mark.parametrize(
    ("text", "code"), [*LAST_BLOCK, *MARKERS, *CONTAINERS, *INSIDE_CODE, *TAGS, *CLOSED_ON_CODE, *INVISIBLE]
)
def test_the_last_closed_python_block_after_the_thinking_counts(text, code):
    assert code_block(text) == code


@pytest.mark.parametrize(
    "piece",
    [
        "```\n",
        "```python\n",
        "```python\na```\n",
        "> ```\n",
        "> - ```\n",
        "- ```python\n",
        "- - - ```\n",
        "~~~\n```\n",
        "</think>```python\n",
        "<answer>```",
        "```\n```x\n</think>\n```\n",
        "`",
        "> ",
        "\u200b",
        " ",
    ],
)
def test_hostile_texts_end(piece):
    assert code_block("```python\na\n```\n" + piece * 100_000) in (None, "a\n")


def test_a_thousand_fences_are_read():
    assert code_block("```python\na\n```\n" * 500) == "a\n"
    assert code_block("```python\na\n```\n" * 501) is None
