"""Check, before anything is generated, that a reward function takes what it will be given."""

import inspect
from collections.abc import Callable, Collection
from typing import Any

# What TRL passes besides the dataset's columns.
PASSED = ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric", "environments")


def check_reward(reward: Callable[..., Any], columns: Collection[str] | None) -> None:
    """Check the signature of a reward function that is called as TRL calls it: with everything, by name.

    Args:
        columns: Of the dataset; None where they are not known.

    Raises:
        ValueError: It takes no further arguments, or needs a column that the rows do not have.
    """
    try:
        parameters = list(inspect.signature(reward).parameters.values())
    except (TypeError, ValueError):
        return  # some built-in callables do not say what they take
    name = getattr(reward, "__name__", type(reward).__name__)
    given = {*PASSED, *(columns or ())} - {"prompt", "completion", "environments"}
    unknown = sorted(given - {each.name for each in parameters})
    if unknown and not any(each.kind is each.VAR_KEYWORD for each in parameters):
        raise ValueError(
            f"The reward `{name}` must take `**kwargs`, as it is given more than it reads: {', '.join(unknown)}. "
            f"Write `def {name}(completions, **kwargs)`."
        )
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    needed = [each.name for each in parameters if each.kind in by_name and each.default is each.empty]
    if columns is not None and (missing := sorted({*needed} - {*columns, *PASSED})):
        raise ValueError(
            f"The reward `{name}` needs the columns {missing}, and the rows have {sorted(columns)}: rename one, or "
            "add what is missing."
        )
