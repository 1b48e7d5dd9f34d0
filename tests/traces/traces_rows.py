"""Rows of a trace: short ones to check by hand, and long ones for size and speed."""

import math
import random
from typing import Any

# Every text is one token of one vocabulary.
KNOWN: dict[str, int] = {}


def make_row(
    *,
    step: int = 1,
    sample: int = 0,
    prompt: str = "Count to two.",
    tokens: list[str] | None = None,
    mixtures: dict[int, dict[str, float]] | None = None,
    reward: float | None = 1.0,
    split: str = "train",
    closed_at: int | None = None,
) -> dict[str, Any]:
    """A row of a trace: `mixtures` maps a position to its candidates' weights, the others are one token."""
    tokens = ["one", " two"] if tokens is None else tokens
    drawn = [{token: 1.0} for token in tokens]
    for position, weights in (mixtures or {}).items():
        drawn[position] = weights
    known = KNOWN
    closed_at = len(tokens) if closed_at is None else closed_at
    drawn = [weights if position < closed_at else {} for position, weights in enumerate(drawn)]
    phases = [{"position": 0, "phase": "thinking", "cause": "start"}]
    if closed_at < len(tokens):
        phases.append({"position": closed_at, "phase": "answering", "cause": "stop_text"})
    return {
        "version": 1, "step": step, "split": split, "group": 0, "sample": sample, "prompt": prompt,
        "prompt_ids": [1], "completion": "".join(tokens),
        "completion_ids": [known.setdefault(token, len(known)) for token in tokens],
        "tokens": tokens,
        "candidate_ids": [[known.setdefault(token, len(known)) for token in weights] for weights in drawn],
        "candidate_tokens": [list(weights) for weights in drawn],
        "log_weights": [[math.log(weight) for weight in weights.values()] for weights in drawn],
        "thinking": [bool(weights) for weights in drawn], "mixed": [len(weights) > 1 for weights in drawn],
        "forced": [False] * len(tokens), "logps": [-1.5] * len(tokens), "entropies": [0.75] * len(tokens),
        "phases": phases, "closed_by": "stop_text" if closed_at < len(tokens) else None, "truncated": False,
        "rewards": [{"name": "correct", "value": reward}], "reward": reward, "advantage": (reward or 0.0) - 0.5,
    }  # fmt: skip


def make_story(rows: int, length: int, *, num_candidates: int) -> list[dict[str, Any]]:
    """Long rows of ordinary words."""
    draw = random.Random(0)
    words = [
        "the", "cat", "adds", "two", "and", "three", "to", "get", "five", "so", "we", "have", "seven", "apples",
        "left", "then", "each", "friend", "takes", "half", "of", "them", "which", "makes", "twelve", "in",
        "total", "because", "every", "box", "holds", "four", "pencils", "minus", "one", "that", "was", "lost",
        "wait", "let", "me", "check", "again", "first", "multiply", "by", "ten", "next", "subtract", "eight",
        "finally", "divide",
    ]  # fmt: skip
    words = [f" {word}{suffix}" for word in words for suffix in ("", "", "s", ",", ".", "ing", "ed")]
    made = []
    for index in range(rows):
        tokens = [draw.choice(words) if draw.random() > 0.02 else "\n" for _ in range(length)]
        mixtures = {}
        for position in range(int(length * 0.8)):
            count = draw.randint(1, num_candidates)
            others = draw.sample(words, count - 1)
            raw = [draw.expovariate(1) ** 2 + 0.01 for _ in range(count)]
            raw[0] += 0.8 * draw.random()
            mixtures[position] = {
                token: weight / sum(raw) for token, weight in zip([tokens[position], *others], raw, strict=False)
            }
            total = sum(mixtures[position].values())
            mixtures[position] = {token: weight / total for token, weight in mixtures[position].items()}
        made.append(
            make_row(
                step=1 + 50 * (index // 8), sample=index % 8, tokens=tokens, mixtures=mixtures,
                closed_at=int(length * 0.8), reward=float(draw.random() < 0.2 + index / rows / 2),
                prompt=f"<|im_start|>user\nQuestion {index % 8 // 4}: how many apples?<|im_end|>\n",
            )
        )  # fmt: skip
    return made
