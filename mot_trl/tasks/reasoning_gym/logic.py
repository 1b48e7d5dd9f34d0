"""Weigh conclusions of propositional logic by what they rule out, as weak ones follow from nearly any premises."""

from functools import reduce
from operator import and_

from reasoning_gym.logic.propositional_logic import Expression, Operator

# Of what the strongest conclusion earns.
_WEAKER = 0.5


def conclusion(answer: str, premises: list[str], variables: list[str]) -> float:
    """1 for a conclusion as strong as all premises together; for a weaker one, half its share of what they rule out.

    `P or Q` follows from most rows' premises, and a tautology from all of them, which rules out nothing.
    """
    everything = (1 << (1 << len(variables))) - 1
    columns = {name: _column(place, len(variables)) for place, name in enumerate(variables)}
    known = reduce(and_, (_truths(Expression.from_string(text), columns, everything) for text in premises), everything)
    found = _truths(Expression.from_string(answer), columns, everything)
    if known & ~found or found == everything:
        return 0.0
    return 1.0 if found == known else _WEAKER * (~found & everything).bit_count() / (~known & everything).bit_count()


def _column(place: int, count: int) -> int:
    """A variable's column of the truth table, as bits."""
    return sum(1 << row for row in range(1 << count) if row >> place & 1)


def _truths(formula: Expression, columns: dict[str, int], everything: int) -> int:
    """The rows of the truth table in which a formula is true, as bits."""
    if formula.operator is None:
        return columns[formula.left]
    left = _truths(formula.left, columns, everything)
    if formula.right is None:  # a negation
        return left ^ everything
    right = _truths(formula.right, columns, everything)
    match formula.operator:
        case Operator.AND:
            return left & right
        case Operator.OR:
            return left | right
        case Operator.IMPLIES:
            return left ^ everything | right
    return left ^ right ^ everything
