"""Which logits processors and stopping criteria rows may leave behind, and what goes with the rows that stay."""

from copy import copy

from jaxtyping import Int
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteriaList
from transformers.generation import logits_process, stopping_criteria

# These hold nothing that belongs to a row but what `of_rows` selects, so rows may leave without their knowing.
STATELESS = (
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
    """Whether none keeps a state of single rows, as far as one knows it or its `rowwise` says so."""
    return all(type(rule) in STATELESS or getattr(rule, "rowwise", False) for rule in [*processors, *criteria])


def of_rows(processors: LogitsProcessorList, indices: Int[Tensor, " M"]) -> LogitsProcessorList:
    """The processors for the rows `indices`; the caller's own stay as they are."""
    return LogitsProcessorList(_of_rows(rule, indices) for rule in processors)


def _of_rows(rule: LogitsProcessor, indices: Int[Tensor, " M"]) -> LogitsProcessor:
    """A processor for the rows `indices`: the repetition penalty knows how much padding each has."""
    padding = getattr(rule, "prompt_ignore_length", None)
    if not isinstance(padding, Tensor):
        return rule
    rule = copy(rule)
    rule.prompt_ignore_length = padding[indices.to(padding.device)]  # ty: ignore[missing-attribute]
    return rule
