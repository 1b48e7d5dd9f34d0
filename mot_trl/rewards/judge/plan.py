"""What a judge's purpose makes of a batch: the questions to ask, and how their verdicts become rewards."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mot_trl.rewards.judge.prompt import Question

Verdicts = Sequence[float | None]


@dataclass(frozen=True)
class Plan:
    """A batch, worked out.

    Args:
        questions: what to ask; the same question twice costs one call.
        settle: the rewards, one for each completion, given one verdict for each question (None where none came).
        counts: metrics of the plan itself.
        canary: a question whose right verdict is worth 0.
        measure: metrics of the verdicts.
    """

    questions: list[Question]
    settle: Callable[[Verdicts], list[float | None]]
    counts: Mapping[str, float] = field(default_factory=dict)
    canary: Question | None = None
    measure: Callable[[Verdicts], dict[str, float]] = lambda _verdicts: {}


class MissingColumnError(KeyError):
    """A setting names a column that the data set does not have: the one thing a judge's call raises."""


class Purpose(Protocol):
    """What the judge is for."""

    def plan(self, completions: Sequence[Any], columns: Mapping[str, Sequence[Any]], *, until: float) -> Plan:
        """Work out a batch; `until` is a time of the monotonic clock. Raises MissingColumnError."""
        ...


def column(columns: Mapping[str, Sequence[Any]], name: str, *, setting: str) -> Sequence[Any]:
    """The rows' column `name`, or a MissingColumnError that says which setting asked for it."""
    if name not in columns:
        raise MissingColumnError(f"`{setting}` is {name!r}; the rows have {sorted(columns)}.")
    return columns[name]


def problem_texts(columns: Mapping[str, Sequence[Any]], name: str | None, *, rows: int) -> list[dict[str, str]]:
    """The data field with each row's problem, of a chat its last message; no field where no column is named."""
    if name is None:
        return [{} for _ in range(rows)]
    return [{"problem": _text(problem)} for problem in column(columns, name, setting="question_column")]


def _text(problem: Any) -> str:
    is_chat = isinstance(problem, Sequence) and problem and isinstance(problem[-1], Mapping)
    return str(problem[-1].get("content", "") if is_chat else problem)


def settle_rows(rewards: Sequence[float | None], rows: Sequence[int]) -> Callable[[Verdicts], list[float | None]]:
    """Put the verdicts into the rewards of `rows`, and leave the others as they are."""

    def settle(verdicts: Verdicts) -> list[float | None]:
        settled = list(rewards)
        for row, verdict in zip(rows, verdicts, strict=True):
            settled[row] = verdict
        return settled

    return settle
