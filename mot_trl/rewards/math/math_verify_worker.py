"""Judge two LaTeX texts with math-verify. Only the sandbox imports this file, before it sees any answer."""

from latex2sympy2_extended import NormalizationConfig
from math_verify import LatexExtractionConfig, parse, verify

_NORMALIZATION = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="all")
_EXTRACTION = LatexExtractionConfig(boxed_match_priority=0, normalization_config=_NORMALIZATION)


def equivalent(gold: str, answer: str) -> bool | None:
    """Whether math-verify calls the two equal; None where the gold does not equal itself.

    No timeouts of its own: those of math-verify need the main thread's signals, and the sandbox keeps the time.
    """
    try:
        golds = _parsed(gold)
        if not golds or not verify(golds, golds, timeout_seconds=None):
            return None
        answers = _parsed(answer)
        return bool(verify(golds, answers, float_rounding=12, timeout_seconds=None, allow_set_relation_comp=True))
    except Exception:  # SymPy fails on texts that only look like mathematics in more ways than can be listed
        return False


def _parsed(text: str) -> list:
    # The LaTeX grammar alone: the other reader of math-verify ends in `eval`.
    return parse(f"\\boxed{{{text}}}", [_EXTRACTION], fallback_mode="no_fallback", parsing_timeout=0)


# Each call runs in a fresh fork, so what SymPy and the parser import and cache at first use must be there before: a
# pair takes a tenth of a second then, and more than a whole one otherwise.
for _gold, _answer in ((r"\log_2 8", "3"), (r"\frac{x+1}{\log_2 x}", r"\sum_{k=1}^{3} k"), (r"\binom{n}{2}", "x<3")):
    equivalent(_gold, _answer)
