"""Arithmetic with a calculator: a tool that computes, and questions that need it.

GRPOTrainer(..., train_dataset=load(size=1000), **TRAINER)
"""

from __future__ import annotations

import ast
import operator
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mot_trl.rewards.answer import completion_text, final_answer

if TYPE_CHECKING:
    from datasets import Dataset

MAX_LENGTH = 200
"""Characters of an expression. Python's own parser refuses to nest deeper than this allows."""
MAX_BITS = 4096
"""Of a power's result, which a short expression could make as large as the memory."""

_OPERATIONS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


def calculate(expression: str) -> str:
    """Compute an expression of numbers.

    Args:
        expression: Numbers, + - * / // % ** and parentheses, such as "12 * (3 + 4)".
    """
    if not isinstance(expression, str) or len(expression) > MAX_LENGTH:
        raise ValueError(f"An expression is text of at most {MAX_LENGTH} characters.")
    try:
        return str(_value(ast.parse(expression.strip(), mode="eval").body))
    except (SyntaxError, RecursionError, MemoryError):
        raise ValueError("This is no expression of numbers, + - * / // % ** and parentheses.") from None


def _value(node: ast.AST) -> int | float:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return number
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATIONS:
            return _OPERATIONS[type(op)](_value(operand))
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value(left), _value(right))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            return _OPERATIONS[type(op)](_value(left), _value(right))
    raise ValueError("Only numbers, + - * / // % ** and parentheses are known.")


def _power(base: float, exponent: float) -> int | float:
    if isinstance(base, int) and base.bit_length() * abs(exponent) > MAX_BITS:
        raise ValueError("The result is too large.")
    power = base**exponent
    if isinstance(power, complex):
        raise ValueError("The result is not a real number.")
    return power


def load(size: int = 1000, *, seed: int = 0, split: str = "train") -> Dataset:
    """Make rows with `prompt` (one user message) and `answer` (text): sums of three or four numbers up to 99.

    No expression is in both splits, `train` and `test`.

    Raises:
        ValueError: `split` is neither of them.
    """
    # Imported late: graders import this module in processes that never load a dataset.
    import datasets

    if split not in ("train", "test"):
        raise ValueError(f"Unknown split {split!r}; choose 'train' or 'test'.")
    return datasets.Dataset.from_list([_row(text) for text in _expressions(size, seed, split)])


def _expressions(size: int, seed: int, split: str) -> list[str]:
    generator = random.Random(f"calculator {seed}")
    found: dict[str, None] = {}
    while len(found) < size:
        first, *others = (generator.randint(10, 99) for _ in range(generator.choice((3, 4))))
        text = str(first) + "".join(generator.choice("+-") + str(number) for number in others)
        # By the expression, so that the splits are disjoint whatever the seeds.
        if (random.Random(text).random() < 1 / 8) == (split == "test"):
            found[text] = None
    return list(found)


def _row(expression: str) -> dict[str, Any]:
    content = f"Calculate {expression}, and write the result between <answer> and </answer>."
    return {"prompt": [{"role": "user", "content": content}], "answer": calculate(expression)}


def correct_answer(completions: list, answer: list[str], **_: Any) -> list[float]:
    """1 where the last message's text between `<answer>` and `</answer>` is the result, else 0."""
    # A completion with tools is a list of messages; what a tool said is no answer.
    last = [[message for message in each if message["role"] == "assistant"][-1:] for each in completions]
    found = [final_answer(completion_text(message)) if message else None for message in last]
    return [float(text is not None and text.strip() == gold) for text, gold in zip(found, answer, strict=True)]


TRAINER: dict[str, Any] = {"tools": [calculate], "reward_funcs": [correct_answer]}
"""The trainer's arguments beside the rows."""
