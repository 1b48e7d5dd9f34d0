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
    "⟩": r"\rangle ", "‰": "/1000", "ℝ": r"\mathbb{R}", "。": ".", "、": ",", "“": '"', "”": '"',
    "✓": "", "✔": "", "✅": "", "☑": "", "⇒": r"\Rightarrow ", "→": r"\rightarrow ", "∴": r"\therefore ",
    "Ø": r"\emptyset ",
}  # fmt: skip
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")

_COMMANDS = {
    **dict.fromkeys(("displaystyle", "textstyle", "limits", "nolimits", "bf", "rm", "it", "sf", "tt"), " "),
    **dict.fromkeys(("tiny", "small", "normalsize", "large", "Large", "LARGE", "huge", "Huge", "bfseries"), " "),
    **dict.fromkeys(("newline", "middle", "noindent", "centering", "hfill", "null", "strut"), " "),
    **dict.fromkeys(("notag", "nonumber", "square", "blacksquare", "Box", "qed", "checkmark"), " "),
    **dict.fromkeys(("cr", "tabularnewline"), r"\\ "), **dict.fromkeys(("mid", "vert", "lvert", "rvert"), "|"),
    **dict.fromkeys(("dfrac", "tfrac", "cfrac", "nicefrac", "sfrac"), r"\frac"),
    **dict.fromkeys(("lor", "vee"), r"\text{ or }"), **dict.fromkeys(("land", "wedge"), r"\text{ and }"),
    "varnothing": r"\emptyset ", "O": r"\emptyset ", "lg": r"\log_{10}", "Bbb": r"\mathbb", "colon": ":",
    **dict.fromkeys(("dbinom", "tbinom"), r"\binom"),
    **dict.fromkeys(("leq", "leqslant", "leslant"), r"\le "), **dict.fromkeys(("geq", "geqslant"), r"\ge "),
    **dict.fromkeys(("times", "ast", "cdotp"), r"\cdot "), "neq": r"\ne ", "lt": "<", "gt": ">",
    "lbrace": r"\{", "rbrace": r"\}", "lbrack": "[", "rbrack": "]",
}  # fmt: skip
_COMMAND = re.compile(r"\\([a-zA-Z]+)")

# Math fonts and commands for text alike: what they hold decides whether it is words or mathematics.
_STYLES = (
    r"(?:text(?:bf|it|rm|sf|tt|up|normal)?|math(?:rm|bf|it|sf|tt|normal)|boldsymbol|bm|pmb|emph|mbox|hbox"
    r"|operatorname\*?)"
)
# In order. Thousands separators come first: they are spaces that change the meaning, and spaces are dropped later.
_RULES = [(re.compile(pattern), replacement) for pattern, replacement in (
    (r"(?<=[0-9])(?:\{,\}|,\s*\\[!,;:]|\\,|\\;|\\:|\\!)\s*(?=[0-9]{3}(?![0-9]))", ""),
    (r"\\(?:(?:text|font)?color|colorbox|[hv]?phantom|[hv]space\*?|tag\*?|label)\s*\{[^{}]*\}", " "),
    (rf"\\frac\s*\{{\s*\\{_STYLES}\s*(\{{[^{{}}]*\}})\s*\}}\s*\{{\s*\\{_STYLES}\s*(\{{[^{{}}]*\}}(?:\^[0-9])?)\s*\}}",
     r"\\text\1/\\text\2"),
    (r"\\text\s*\{\s*([,;])\s*\}", r"\1"),
    (r"(?<=[0-9)])\{\s*\}", ""),
    (rf"\\{_STYLES}\s*\{{\s*([A-Za-z])\s*\}}", r" \1 "),
    (rf"\\{_STYLES}\s*\{{\s*((?:\\dollar\s*)?[0-9][0-9.,]*|\\dollar)\s*\}}", r" \1 "),
    (r"\\(?:math(?:bf|it|sf|tt)|boldsymbol|bm|pmb)\s*(?=\{\s*[A-Za-z]?[^A-Za-z\s])", ""),
    (rf"\\{_STYLES}\s*\{{", r"\\text{"),
    (r"\\(?:left|right|[bB]igg?[lrm]?)(?![a-zA-Z])\s*\.?", ""),
    (r"\^\s*(?:\{\s*\\(?:circ|degree)\s*\}|\\(?:circ|degree)(?![a-zA-Z]))", r"\\text{ degrees}"),
    (r"\\degrees?(?![a-zA-Z])", r"\\text{ degrees}"),
    (r"(?<![\\a-zA-Z])(sqrt|sin|cos|tan|cot|csc|ln|log|exp|pi|theta|infty|sec(?=\s*[\\({a-z]))(?![a-zA-Z])",
     r"\\\1 "),
    (r"\\text\{ ?[Ii]nfinity ?\}|(?<![\\a-zA-Z])(?:[Ii]nfinity|inf)(?![a-zA-Z])", r"\\infty "),
    (r"\\dot\s*\{?([0-9])\}?([0-9]*)\\dot\s*\{?([0-9])\}?", r"\\overline{\1\2\3}"),
    (r"\\(?:bar|dot|overline)\s*(?:([0-9])|\{\s*([0-9]+)\s*\})", r"\\overline{\1\2}"),
    (r"\\not\s*=", r"\\ne "),
    (r"\\%", "%"),
    (r"(?<!\\)\\!", ""),
    (r"(?<!\\)\\[,;:>/ ]|~|\\(?:quad|qquad|enspace|thinspace)(?![a-zA-Z])", " "),
    (r"\*\*(?=\s*[0-9({a-zA-Z])(?<=[0-9a-zA-Z)}]\*\*)", "^"),
    (r"\s+", " "),
    (r"\\\{ ?\\\}", r"\\emptyset "),
)]  # fmt: skip
# Rules for what few answers hold, each with a text without which it need not be tried.
_RARE = [(needle, re.compile(pattern), replacement) for needle, pattern, replacement in (
    ("choose", r"\{?\s*([0-9a-zA-Z+-]+)\s*\\choose(?![a-zA-Z])\s*([0-9a-zA-Z+-]+)\s*\}?", r"\\binom{\1}{\2}"),
    ("C_", r"(?:\{\})?[_^]\{?([0-9]+|[a-zA-Z])\}?\s*C_\{?([0-9]+|[a-zA-Z])\}?", r"\\binom{\1}{\2}"),
    ("C_", r"(?<![a-zA-Z])C_\{?([0-9]+)\}?\^\{?([0-9]+)\}?", r"\\binom{\1}{\2}"),
    ("log", r"(?<![a-zA-Z])\\?log\s*_\s*(?:\{\s*e\s*\}|e(?![a-zA-Z]))", r"\\ln "),
    ("**", r"(?<![\w)}\]*])\*\*(?=[^\s*])([^*]*[^\s*])\*\*(?![\w({\\*])", r"\1"),
)]  # fmt: skip
# Whole answers in words that have a symbol.
_PHRASES = {
    r"\emptyset": re.compile(
        r"none|(?:the )?(?:empty|null) set"
        r"|(?:there (?:is|are|exists?) )?no (?:real |such )?(?:solutions?|roots?|zeros?|values?)(?: exists?)?",
        re.I,
    ),
    r"\mathbb{R}": re.compile(r"(?:the set of )?all (?:reals|real numbers)", re.I),
}
# Most answers by far, and in their one spelling already.
_PLAIN = re.compile(r"-?[0-9]+(?:[.,][0-9]+)*")
# The reals but for a point: `all real numbers except 2`, `all real x \\ne 2`.
_EXCEPT = re.compile(
    r"(?:\\text ?\{ ?)?all real(?:s| numbers?| values)?(?: x)?,? ?"
    r"(?:(?:except|other than|but)(?: for)? ?\}? ?(?:x ?= ?)?|\}? ?(?:x ?)?\\ne )",
    re.I,
)
# `0.1666\\ldots`: a digit or a period that has come three times.
_ELLIPSIS = re.compile(r"(\.[0-9]{0,9}?)([0-9]{1,6}?)\2{2,}\s*(?:\\[lc]?dots(?:\{\})?(?![a-zA-Z])|\.\.\.)")
_BOXED = re.compile(r"\\(?:boxed|fbox|framebox|underline|ensuremath|math(?:op|ord|bin))\s*(?=\{)")
# Lines of mathematics, which `&` aligns, and of which those that begin with `=` continue the one before.
_DISPLAY = re.compile(
    r"\\begin\s*\{(equation|align(?:ed)?|gather(?:ed)?|split|multline|displaymath|math)(\*?)\}(.*)\\end\s*\{\1\2\}",
    re.DOTALL,
)
# Degrees in the argument of a function are a number: `\\sin 30^\\circ`.
_FUNCTION = re.compile(r"(?<![a-zA-Z])(?:sin|cos|tan|cot|sec|csc)(?![a-zA-Z])")
_ANGLE = re.compile(
    r"([0-9]+(?:\.[0-9]+)?|(?<![\\a-zA-Z])[a-zA-Z])\s*(?:\^\s*(?:\{\s*\\(?:circ|degree)\s*\}|\\circ(?![a-zA-Z]))"
    r"|\^?\s*\\degrees?(?![a-zA-Z]))"
)
_INLINE = re.compile(r"\$([^$]+)\$")
_PREFIX = re.compile(
    r"^(?:therefore|thus|so|hence)?,?\s*(?:the\s+|my\s+)?(?:final\s+|correct\s+)?(?:answer|ans\.?|result|total)\s*(?:is|:|=)+\s*"
    r"|^(?:therefore|thus|so|hence)\b,?\s*(?=[-$0-9\\])|^(?:an?\s+)?total\s+of\s+(?=[-$0-9\\])",
    re.I,
)
# `Total cost = 18`: a word of four letters at least, since `abc = 18` may be an equation.
_LETTERS = r"(?=[A-Za-z ]*[A-Za-z]{4})[A-Za-z ]++"
_LABEL = re.compile(
    r"^(?!.*\b(?:not|never|wrong|incorrect|option|choice)\b)"
    rf"(?:\\{_STYLES}\s*\{{[^{{}}0-9]*(?::|=|\bis)\s*\}}|=(?!=)\s*|[&\s]+"
    r"|(?:\\(?:(?:Long)?[rR]ightarrow|implies|therefore|to)(?![a-zA-Z])\s*)+(?=\S)"
    rf"|(?:\\{_STYLES}\s*\{{\s*{_LETTERS}\}}|{_LETTERS})\s*[:=](?!=)\s*(?=\S))",
    re.I,
)
_WRAPPERS = [
    *((mark, mark) for mark in ("$$", "$", "**", "*", "__", "`", '"', "'")),
    *((r"\(", r"\)"), (r"\[", r"\]")),
    *((f"<{tag}>", f"</{tag}>") for tag in ("b", "i", "u", "em", "strong", "code", "span")),
]
_GROUP = re.compile(rf"(\\{_STYLES}\s*)?\{{")
_TRAILING = (".", ",", ";", ":", "?", "\\")
_ARGUMENT = re.compile(r"\s*(?:(\\[a-zA-Z]+|[0-9a-zA-Z])|(?=\{))")
_OPERATOR = re.compile(r"\\(frac|binom|sqrt)(?![a-zA-Z])(\s*\[[^\][{}]*\])?")


def normalize(text: str) -> str:
    r"""`text` in one spelling: `$\dfrac43$.` and `\boxed{\frac 43}` both become `\frac{4}{3}`."""
    if _PLAIN.fullmatch(text):
        return text
    # First, so that no dollar of money is taken for one of mathematics.
    text = _BOXED.sub("", _plain_symbols(text.replace(r"\$", r"\dollar ")))
    if r"\begin" in text:
        text = _DISPLAY.sub(_displayed, text)
    for needle, pattern, replacement in _RARE:
        if needle in text:
            text = pattern.sub(replacement, text)
    if ("circ" in text or "degree" in text) and (found := _FUNCTION.search(text)):
        text = text[: found.end()] + _ANGLE.sub(r"\\frac{\1\\pi}{180}", text[found.end() :])
    text = _ELLIPSIS.sub(r"\1\\overline{\2}", text)
    text = _COMMAND.sub(lambda match: _COMMANDS.get(match[1], match[0]), _unwrapped(text))
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    text = _EXCEPT.sub(r"x \\ne ", _unwrapped(_with_braces(text)))
    plain = text.removeprefix(r"\text{").removesuffix("}").strip(" .")
    return next((symbol for symbol, phrase in _PHRASES.items() if phrase.fullmatch(plain)), text)


def key(text: str) -> str:
    """A normalized text without needless braces and spaces: equal keys mean equal answers."""
    text = re.sub(r"\{([0-9a-zA-Z])\}", r"\1", text)
    # A space between digits counts: `1 1/2` is not `11/2`.
    return re.sub(r"(?<![0-9])\s+|\s+(?![0-9])", "", text)


def _displayed(match: re.Match[str]) -> str:
    return re.sub(r"\\\\\s*(?==)", " ", match[3].replace("&", ""))


def _plain_symbols(text: str) -> str:
    if text.isascii():
        return text
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+", lambda match: "^{" + match.group().translate(_SUPERSCRIPTS) + "}", text)
    text = unicodedata.normalize("NFKC", "".join(_SYMBOLS.get(char, char) for char in text))
    # Format characters (zero-width joiners, direction marks) are invisible to a reader, so to us too.
    return "".join(char for char in text if unicodedata.category(char) != "Cf")


def _unwrapped(text: str) -> str:
    # Wrappers come in any order, as in `**$5$**` and `$\boxed{...}$.`, so until nothing changes.
    previous = None
    while text != previous:
        previous, text = text, _outer_removed(text)
    return text


def _outer_removed(text: str) -> str:
    text = _LABEL.sub("", _PREFIX.sub("", text.strip()))
    for opening, closing in _WRAPPERS:
        if not (text.startswith(opening) and text.endswith(closing)):
            continue
        inner = text[len(opening) : len(text) - len(closing)]
        # `$1$ and $2$` begins and ends with dollars that are no pair.
        if inner and opening not in inner and closing not in inner:
            text = inner.strip()
    group = _GROUP.match(text)
    # `\text{18 dollars}` is a number with its unit, `\text{east}` a word.
    if group and _closing_brace(text, group.end() - 1) == len(text) - 1 and (not group[1] or re.search("[0-9]", text)):
        text = text[group.end() : -1].strip()
    text = _INLINE.sub(r" \1 ", text).strip()
    # Not the punctuation of an escape: `18\;` ends in a space.
    while text.endswith(_TRAILING) and (text[-1] == "\\" or text[-2:-1] != "\\"):
        text = text[:-1].rstrip()
    return text


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
