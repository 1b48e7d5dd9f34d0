"""What a list of logits processors does: whether rows may leave a batch under it, and whether it only rescales."""

import math
from copy import copy

from jaxtyping import Int
from torch import Tensor
from transformers import LogitsProcessorList, StoppingCriteriaList
from transformers.generation import logits_process, stopping_criteria

# These keep no state of single rows but what `select_rows` handles, so rows may leave unnoticed. Any other may count
# rows by their position (`prefix_allowed_tokens_fn` does), and keeps every row in the batch to the end.
ROWWISE = (
    logits_process.TemperatureLogitsWarper,
    logits_process.TopKLogitsWarper,
    logits_process.TopPLogitsWarper,
    logits_process.MinPLogitsWarper,
    logits_process.TypicalLogitsWarper,
    logits_process.EpsilonLogitsWarper,
    logits_process.EtaLogitsWarper,
    logits_process.RepetitionPenaltyLogitsProcessor,
    logits_process.NoRepeatNGramLogitsProcessor,
    logits_process.NoBadWordsLogitsProcessor,
    logits_process.MinLengthLogitsProcessor,
    logits_process.MinNewTokensLengthLogitsProcessor,
    logits_process.SuppressTokensLogitsProcessor,
    logits_process.InfNanRemoveLogitsProcessor,
    stopping_criteria.MaxLengthCriteria,
    stopping_criteria.EosTokenCriteria,
    stopping_criteria.StopStringCriteria,
)


def are_rowwise(processors: LogitsProcessorList, criteria: StoppingCriteriaList) -> bool:
    """Whether none keeps a state of single rows: it is one of `ROWWISE`, or says `rowwise = True` itself."""
    return all(type(rule) in ROWWISE or getattr(rule, "rowwise", False) for rule in [*processors, *criteria])


def temperature_of(processors: LogitsProcessorList) -> float | None:
    """The temperature that logits are divided by; None if anything else shapes them."""
    # By type: a class derived from it may do more.
    warpers = [each for each in processors if type(each) is logits_process.TemperatureLogitsWarper]
    return math.prod(each.temperature for each in warpers) if len(warpers) == len(processors) else None


def select_rows(processors: LogitsProcessorList, indices: Int[Tensor, " M"]) -> LogitsProcessorList:
    """The processors for the rows `indices`; the given ones, which may be the caller's own, stay unchanged."""
    selected = LogitsProcessorList(processors)
    for place, rule in enumerate(processors):
        # The repetition penalty holds the length of each row's padding.
        padding = getattr(rule, "prompt_ignore_length", None)
        if isinstance(padding, Tensor):
            selected[place] = copy(rule)
            selected[place].prompt_ignore_length = padding[indices.to(padding.device)]
    return selected
