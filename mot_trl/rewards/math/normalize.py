r"""Normalize the LaTeX of an answer: wrappers, spacing, Unicode symbols and malformed operators.

Words stay in `\text{...}` (one command for all kinds), so that later rules can tell a word from a product of letters.
Follows the normalizations of MATH (arXiv:2103.03874) and math-verify 0.9, and is applied alike to gold and answer.
"""

# ruff: noqa: RUF001 (look-alike characters are what this file is about)

import re
import unicodedata

_SYMBOLS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/",
    "∕": "/", "⁄": "/", "π": r"\pi ", "θ": r"\theta ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "⩽": r"\le ",
    "⩾": r"\ge ", "≠": r"\ne ", "°": r"^\circ ", "º": r"^\circ ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ",
    "±": r"\pm ", "√": r"\sqrt ", "≈": r"\approx ", "£": r"\pounds ", "¼": r" \frac{1}{4}", "½": r" \frac{1}{2}",
    "¾": r" \frac{3}{4}", "⅓": r" \frac{1}{3}", "⅔": r" \frac{2}{3}", "’": "'", "∅": r"\emptyset ", "⟨": r"\langle ",
    "⟩": r"\rangle ", "‰": "/1000",
}  # fmt: skip
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")

_COMMANDS = {
    **dict.fromkeys(("displaystyle", "textstyle", "limits", "nolimits", "cr", "bf", "rm", "it"), " "),
    **dict.fromkeys(("dfrac", "tfrac", "cfrac"), r"\frac"), **dict.fromkeys(("dbinom", "tbinom"), r"\binom"),
    **dict.fromkeys(("leq", "leqslant", "leslant"), r"\le "), **dict.fromkeys(("geq", "geqslant"), r"\ge "),
    **dict.fromkeys(("times", "ast", "cdotp"), r"\cdot "), "neq": r"\ne ", "lt": "<", "gt": ">",
    "lbrace": r"\{", "rbrace": r"\}", "lbrack": "[", "rbrack": "]",
}  # fmt: skip
_COMMAND = re.compile(r"\\([a-zA-Z]+)")

# In order. Thousands separators come first: they are spaces that change the meaning, and spaces are dropped later.
_RULES = [
    (r"(?<=[0-9])(?:\{,\}|,\s*\\!|\\,|\\;|\\:|\\!)\s*(?=[0-9]{3}(?![0-9]))", ""),
    (r"\\(?:text|mathrm|mathbf|mathit|textbf|textit|textrm|mbox|operatorname)\s*\*?\s*\{\s*([A-Za-z])\s*\}", r" \1 "),
    (r"\\(?:mathrm|mathit|mathbf|textbf|textit|textrm|textnormal|mbox|hbox|operatorname\*?)\s*\{", r"\\text{"),
    (r"\\(?:left|right|[bB]igg?[lrm]?)(?![a-zA-Z])\s*\.?", ""),
    (r"\^\s*\{?\s*\\(?:circ|degree)(?![a-zA-Z])\s*\}?|\\degrees?(?![a-zA-Z])", r"\\text{ degrees}"),
    (r"(?<![\\a-zA-Z])(sqrt|sin|cos|tan|cot|sec|csc|ln|log|exp|pi|theta|infty)(?![a-zA-Z])", r"\\\1 "),
    (r"(?<![\\a-zA-Z])(?:infinity|inf)(?![a-zA-Z])", r"\\infty "),
    (r"\\%", "%"),
    (r"(?<!\\)\\!", ""),
    (r"(?<!\\)\\[,;: ]|~|\\(?:quad|qquad|hspace\{[^{}]*\}|enspace|thinspace)(?![a-zA-Z])", " "),
    (r"\*\*(?=\s*[0-9({a-zA-Z])(?<=[0-9a-zA-Z)}]\*\*)", "^"),
    (r"\s+", " "),
]
_BOXED = re.compile(r"\\(?:boxed|fbox|underline)\s*(?=\{)")
_INLINE = re.compile(r"\$([^$]+)\$")
_PREFIX = re.compile(
    r"^(?:therefore|thus|so|hence)?,?\s*(?:the\s+|my\s+)?(?:final\s+|correct\s+)?(?:answer|result)\s*(?:is|:|=)+\s*",
    re.I,
)
_WRAPPERS = [("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("`", "`"), ('"', '"')]
_ARGUMENT = re.compile(r"\s*(?:(\\[a-zA-Z]+|[0-9a-zA-Z])|(?=\{))")
_OPERATOR = re.compile(r"\\(frac|binom|sqrt)(?![a-zA-Z])(\s*\[[^\][{}]*\])?")


def normalize(text: str) -> str:
    r"""`text` in one spelling: `$\dfrac43$.` and `\boxed{\frac 43}` both become `\frac{4}{3}`."""
    # First, so that no dollar of money is taken for one of mathematics.
    text = _BOXED.sub("", _plain_symbols(text.replace(r"\$", r"\dollar ")))
    # Wrappers come in any order, as in `**$5$**` and `$\boxed{...}$.`, so until nothing changes.
    previous = None
    while text != previous:
        previous, text = text, _unwrapped(text)
    text = _COMMAND.sub(lambda match: _COMMANDS.get(match[1], match[0]), text)
    for pattern, replacement in _RULES:
        text = re.sub(pattern, replacement, text)
    return _unwrapped(_with_braces(text)).strip()


def key(text: str) -> str:
    """A normalized text without needless braces and spaces: equal keys mean equal answers."""
    text = re.sub(r"\{([0-9a-zA-Z])\}", r"\1", text)
    # A space between digits counts: `1 1/2` is not `11/2`.
    return re.sub(r"(?<![0-9])\s+|\s+(?![0-9])", "", text)


def _plain_symbols(text: str) -> str:
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+", lambda match: "^{" + match.group().translate(_SUPERSCRIPTS) + "}", text)
    text = unicodedata.normalize("NFKC", "".join(_SYMBOLS.get(char, char) for char in text))
    # Format characters (zero-width joiners, direction marks) are invisible to a reader, so to us too.
    return "".join(char for char in text if unicodedata.category(char) != "Cf")


def _unwrapped(text: str) -> str:
    text = _PREFIX.sub("", text.strip())
    for opening, closing in _WRAPPERS:
        inner = text[len(opening) : len(text) - len(closing)]
        whole = len(text) > len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing)
        # `$1$ and $2$` begins and ends with dollars that are no pair.
        if whole and opening not in inner and closing not in inner:
            text = inner.strip()
    if text.startswith("{") and _closing_brace(text, 0) == len(text) - 1:
        text = text[1:-1].strip()
    text = _INLINE.sub(r" \1 ", text)
    return re.sub(r"(?:\\\\|[.,;:?])+$", "", text).strip()


def _with_braces(text: str) -> str:
    r"""`text` with braces around every argument of `\frac`, `\binom` and `\sqrt`: TeX takes one token without them."""
    position = 0
    while match := _OPERATOR.search(text, position):
        # Goes on right behind the operator, not behind its arguments: they may hold operators, too.
        at = position = match.end()
        for _ in range(1 if match.group(1) == "sqrt" else 2):
            argument = _ARGUMENT.match(text, at)
            if argument is None:
                break
            text = text[:at] + ("{" + argument[1] + "}" if argument[1] else "") + text[argument.end() :]
            end = _closing_brace(text, at)
            if end is None:
                break
            at = end + 1
    return text


def _closing_brace(text: str, start: int) -> int | None:
    depth = 0
    for match in re.compile(r"\\.|[{}]").finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            return match.start()
    return None
