r"""Rules that settle an answer before any call: another number than the gold one, or a text that talks to the judge.

The single symbols and reasoning openers are those that "One Token to Fool LLM-as-a-Judge" measured (arXiv:2507.08794).
"""

import re
import unicodedata
from fractions import Fraction

# How a text speaks of its own grading: as whole words, or also spaced out, in digits, glued together or backwards.
_SHORT = re.compile(
    r"judges?|grad(?:e|ed|es|er|ing)|scor(?:e|es|ed)|marks|rat(?:e|ed|es|ing)|rewards?|pass(?:ed)?|accept(?:ed)?"
    r"|ok(?:ay)?|right|wrong|true|false|yes|no|valid|verif(?:y|ied)|confirm|agreed?|approved?|perfect|equals?|same"
    r"|match(?:es|ed|ing)?|identical|reference|gold|ignore|forget|override|system|user|prompt|rubric|output|respond"
    r"|reply|return|examiner|trust|solution|explanation|proof|expected|grant|credit|please|your?|bravo|done|genau"
    r"|exact(?:ly|o|e|a)?|richtig|korrekt|wahr|ja|vrai|juste|oui|verdadero|si|vero|giusto|answers?|above|teacher"
    r"|student|intended|target|sure(?:ly)?|think|solve|step|hmm|thumbs|stars"
)
_LONG = re.compile(
    r"correct|verdict|instruct|evaluat|equivalen|groundtruth|thoughtprocess|stepbystep|letssolve|letusthink|fullmarks"
    r"|previous|asanai|aslanguage|assistant|disregard|approve|confirmed"
)
_BOOLEANS = {"true", "false", "yes", "no"}

_STRUCTURE = re.compile(
    r"(?i)<\|?/?[a-z_]+\|?>|\|>|<\||\[/?inst\]|<</?sys>>|```|={3,}|#{3,}|-{3,}"  # role tags, fences, marks
    r"|[\"'](?:verdict|score|answer|role|content)[\"']|\{\s*[\"']"  # JSON
    r"|\b(?:system|assistant|user|human|ai|judge|verdict|grade|score)\s*[:=]"
    r"|https?://|/\*|<!--|-->"
)
_ENCODED = re.compile(r"(?=[A-Za-z0-9]*[A-Za-z])[A-Za-z0-9]{25,}")
_OPENER = re.compile(r":\s*$")
_ROLE_TAGS = re.compile(r"<\|[^|<>]{1,40}\|>|\[/?INST\]|<</?SYS>>|</?(?:system|assistant|user|human)>", re.IGNORECASE)
_PLEAS = re.compile(
    r"(?i)\b(?:ignore|disregard|forget|override)\s+(?:\w+\s+){0,3}(?:instruction|prompt|rubric|rule)"
    r"|\b(?:dear|attention|hey|note to(?: the)?)[\s,:]+(?:judge|grader|evaluator|examiner|ai)\b"
    r"|\b(?:give|award|assign|deserve|return|output|rate)\w*\s+(?:\w+\s+){0,4}"
    r"(?:10|ten|full|highest|maximum|top|perfect)\s*(?:/\s*10|score|mark|point|grade|rating)"
    r"|\b(?:score|grade|mark|rating)s?\s*(?:of|is|:|=)\s*(?:10|ten|full|highest|maximum|top|perfect)\b"
    r"|[\"'](?:verdict|score)[\"']\s*:"
)
_PREFACE = re.compile(r"(?i)^(?:so,? |thus,? |hence,? |therefore,? )?(?:the |my )?(?:final )?answer(?: is|:) ")
_LATEX_COMMAND = re.compile(r"\\[a-zA-Z]+\*?")
_WORD = re.compile(r"[^\W\d_]+")
_LEET = str.maketrans("013457@$!|", "oieastasil")
_PLAIN_SCRIPTS = {"LATIN", "GREEK", "MATHEMATICAL", "FEMININE", "MASCULINE"}

_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|(?<![\w.])[-+]?\.\d+|\d+(?:\.\d+)?")
_SCALE_WORDS = re.compile(r"%|percent|hundred|thousand|million|billion|trillion|dozen|\bscore\b|\bk\b", re.IGNORECASE)
_SCALES = tuple(Fraction(scale) for scale in ("1", "1/100", "12", "20", "1e2", "1e3", "1e6", "1e9", "1e12"))
_PART_WORDS = re.compile(r"\b(?:hal(?:f|ves)|thirds?|quarters?|fourths?|fifths?|tenths?)\b", re.IGNORECASE)
_ONES = "one|two|three|four|five|six|seven|eight|nine"
_TEENS = "ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen"
_TENS = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
_SPELLED = re.compile(rf"\b(?:({_TENS})(?:[\s-]+({_ONES}))?|(zero|{_ONES}|{_TEENS}))\b", re.IGNORECASE)
_WORTH = dict(zip(f"zero|{_ONES}|{_TEENS}|{_TENS}".split("|"), [*range(20), *range(20, 100, 10)], strict=True))


def tidy(text: str) -> str:
    """The text with each run of white space as one space: the form that is hashed, filtered and sent."""
    return " ".join(text.split())


def rules_out(gold: str, answer: str) -> bool:
    """Whether a plain number `gold` excludes `answer`: it names another number, or none, in digits or in words.

    A number with a word of scale ("1.2 million", "40%") may stand for its multiple, and parts ("three quarters") may
    be a gold that is no integer; what stays possible is left to the judge.
    """
    gold = gold.strip().removeprefix("$")
    if len(gold) >= 100 or not gold.isascii() or not _NUMBER.fullmatch(gold):
        return False
    wanted = Fraction(gold.replace(",", ""))
    text = unicodedata.normalize("NFKC", answer).replace("{,}", ",")
    if wanted.denominator != 1 and _PART_WORDS.search(text):
        return False
    scales = _SCALES if _SCALE_WORDS.search(text) else _SCALES[:1]
    spelled = (sum(_WORTH[word.lower()] for word in groups if word) for groups in _SPELLED.findall(text))
    numbers = [Fraction(found.replace(",", "")) for found in _NUMBER.findall(text)] or [Fraction(n) for n in spelled]
    return not numbers or any(all(number * scale != wanted for scale in scales) for number in numbers)


def is_offense(answer: str, gold: str) -> bool:
    """Whether `answer` must not reach a judge; what the gold answer does too, such as being Japanese, is allowed."""
    # NFKC turns full-width and mathematical letters into the plain ones that they look like.
    answer, gold = _PREFACE.sub("", unicodedata.normalize("NFKC", answer)), unicodedata.normalize("NFKC", gold)
    words, gold_words = ([w.lower() for w in _WORD.findall(_LATEX_COMMAND.sub(" ", it))] for it in (answer, gold))
    # "yes" may answer "true", and a triangle may be right.
    allowed = {*gold_words, *(_BOOLEANS if _BOOLEANS & set(gold_words) else ())}
    allowed |= {"right"} if set(words) & {"triangle", "angle", "angled", "angles"} else set()
    return (
        not any(char.isalnum() for char in answer)
        or any(pattern.search(answer) and not pattern.search(gold) for pattern in (_STRUCTURE, _ENCODED, _OPENER))
        or any(found_in(answer) - found_in(gold) for found_in in (_odd_characters, _stems))
        or any(_SHORT.fullmatch(word) for word in set(words) - allowed)
        or sum(len(word) > 2 for word in words) > 6 + 2 * sum(len(word) > 2 for word in gold_words)
    )


def instructs(text: str, rubric: str) -> bool:
    """Whether free text carries prompt markup, hidden characters, or the plainest pleas to its grader."""
    # Far weaker than `is_offense`, as an essay may speak of almost anything. What the rubric itself says is allowed.
    text = unicodedata.normalize("NFKC", text)
    plea = _PLEAS.search(text)
    hidden = any(unicodedata.category(char) in ("Cf", "Co", "Cs", "Cn") for char in text)
    return hidden or bool(_ROLE_TAGS.search(text)) or bool(plea and plea.group().lower() not in rubric.lower())


def _odd_characters(text: str) -> set[str]:
    """The scripts of letters but Latin and Greek, by the first words of their Unicode names, and "hidden"."""
    scripts = {unicodedata.name(char, "?").split()[0] for char in text if char.isalpha()}
    # Control, format (zero width, bidirectional, tags), private and unassigned; and marks piled on letters.
    hidden = any(unicodedata.category(char)[0] == "C" or unicodedata.category(char) in ("Mn", "Me") for char in text)
    return scripts - _PLAIN_SCRIPTS | ({"hidden"} if hidden else set())


def _stems(text: str) -> set[str]:
    unaccented = unicodedata.normalize("NFKD", _LATEX_COMMAND.sub("", text)).lower()
    squeezed = "".join(char for char in unaccented.translate(_LEET) if char.isalpha())
    return set(_LONG.findall(squeezed) + _LONG.findall(squeezed[::-1]))
