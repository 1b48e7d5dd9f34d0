r"""What a judge never gets to see: answers that hide characters, talk to the judge, or cannot be the gold number.

A judge believes some of what it reads, so each of these is worth 0 before any call. The single symbols and the
reasoning openers are those that "One Token to Fool LLM-as-a-Judge" (arXiv:2507.08794) measured against real judges.
"""

import re
import unicodedata

# Words by which a text speaks about its own grading. Short ones count as whole words, long ones also when they are
# spaced out, spelled with digits, glued together or written backwards.
_SHORT = re.compile(
    r"(?:judges?|grad(?:e|ed|es|er|ing)|scor(?:e|es|ed)|marks|rat(?:e|ed|es|ing)|rewards?|pass(?:ed)?|accept(?:ed)?|ok(?:ay)?"
    r"|right|wrong|true|false|yes|no|valid|verif(?:y|ied)|confirm|agreed?|approved?|perfect|match(?:es|ed|ing)?|equals?|same"
    r"|identical|reference|gold|ignore|forget|override|system|user|prompt|rubric|output|respond|reply|return|examiner"
    r"|trust|solution|explanation|proof|expected|grant|credit|please|you|your"
    r"|bravo|done|exact(?:ly|o|e|a)?|richtig|korrekt|wahr|ja|vrai|juste|oui|verdadero|si|vero|giusto|genau"
    r"|answers?|above|teacher|student|intended|target|sure(?:ly)?|think|solve|step|hmm|thumbs|stars)"
)
_LONG = re.compile(
    r"correct|verdict|instruct|evaluat|equivalen|groundtruth|thoughtprocess|stepbystep|letssolve|letusthink|fullmarks"
    r"|previous|asanai|aslanguage|assistant|disregard|approve|confirmed"
)
_BOOLEANS = frozenset({"true", "false", "yes", "no"})
_GEOMETRY = frozenset({"triangle", "angle", "angled", "angles"})

_STRUCTURE = re.compile(
    r"<\|?/?[a-z_]+\|?>|\|>|<\||\[/?inst\]|<</?sys>>|```|={3,}|#{3,}|-{3,}"  # role tags, fences, marks
    r"|[\"'](?:verdict|score|answer|role|content)[\"']|\{\s*[\"']"  # JSON
    r"|\b(?:system|assistant|user|human|ai|judge|verdict|grade|score)\s*[:=]"
    r"|https?://|/\*|<!--|-->",
    flags=re.IGNORECASE,
)
_ROLE_TAGS = re.compile(r"<\|[^|<>]{1,40}\|>|\[/?INST\]|<</?SYS>>|</?(?:system|assistant|user|human)>", re.IGNORECASE)
_PLEAS = re.compile(
    r"\b(?:ignore|disregard|forget|override)\s+(?:\w+\s+){0,3}(?:instruction|prompt|rubric|rule)"
    r"|\b(?:dear|attention|hey|note to(?: the)?)[\s,:]+(?:judge|grader|evaluator|examiner|ai)\b"
    r"|\b(?:give|award|assign|deserve|return|output|rate)\w*\s+(?:\w+\s+){0,4}"
    r"(?:10|ten|full|highest|maximum|top|perfect)\s*(?:/\s*10|score|mark|point|grade|rating)"
    r"|\b(?:score|grade|mark|rating)s?\s*(?:of|is|:|=)\s*(?:10|ten|full|highest|maximum|top|perfect)\b"
    r"|[\"'](?:verdict|score)[\"']\s*:",
    re.IGNORECASE,
)
_PREFACE = re.compile(
    r"^(?:so,? |thus,? |hence,? |therefore,? )?(?:the |my )?(?:final )?answer(?: is|:) ", re.IGNORECASE
)
_LATEX_COMMAND = re.compile(r"\\[a-zA-Z]+\*?")
_WORD = re.compile(r"[^\W\d_]+")
_LEET = str.maketrans("013457@$!|", "oieastasil")
_SPARE_WORDS = 6
_ENCODED = re.compile(r"(?=[A-Za-z0-9]*[A-Za-z])[A-Za-z0-9]{25,}")


def tidy(text: str) -> str:
    """The text with its white space runs as single spaces; the form that is keyed, screened and sent."""
    return " ".join(text.split())


def objection(answer: str, gold: str) -> str | None:
    """Why `answer` must not reach a judge, in one or two words, or None where it may.

    What the gold answer does itself is no offence: a gold in Japanese, or "True", lets answers be the same.
    """
    folded, gold_folded = _PREFACE.sub("", _fold(answer)), _fold(gold)
    if not any(char.isalnum() for char in folded):
        return "no letter or digit"
    if _hidden(answer) and not _hidden(gold):
        return "hidden characters"
    if _foreign(folded) - _foreign(gold_folded):
        return "foreign script"
    if _STRUCTURE.search(folded) and not _STRUCTURE.search(gold_folded):
        return "markup"
    if _ENCODED.search(folded) and not _ENCODED.search(gold_folded):
        return "an encoded text"
    if _addresses(folded, gold_folded):
        return "talks to the judge"
    if folded.rstrip().endswith(":") and not gold_folded.rstrip().endswith(":"):
        return "opens a text"
    if _wordy(folded, gold_folded):
        return "too many words"
    return None


def instructs(text: str, rubric: str) -> bool:
    """Whether free text carries markup of prompts, hidden characters, or the plainest pleas to its grader.

    Far weaker than `objection`: an essay may speak of almost anything. What the rubric itself says is allowed.
    """
    folded = _fold(text)
    hidden = any(unicodedata.category(char) in ("Cf", "Co", "Cs", "Cn") for char in folded)
    plea = _PLEAS.search(folded)
    return hidden or bool(_ROLE_TAGS.search(folded)) or bool(plea and plea.group().lower() not in rubric.lower())


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _hidden(text: str) -> bool:
    # Control, format (zero width, bidirectional, tags), private and unassigned; and marks piled on letters.
    return any(
        unicodedata.category(char)[0] == "C" or unicodedata.category(char) in ("Mn", "Me") for char in _fold(text)
    )


def _foreign(text: str) -> set[str]:
    """The scripts of the text's letters but Latin and Greek, by the first word of their Unicode names."""
    names = (unicodedata.name(char, "?").split()[0] for char in text if char.isalpha())
    return {name for name in names if name not in ("LATIN", "GREEK", "MATHEMATICAL", "FEMININE", "MASCULINE")}


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(_LATEX_COMMAND.sub(" ", text))]


def _addresses(answer: str, gold: str) -> bool:
    words, allowed = set(_words(answer)), set(_words(gold))
    if allowed & _BOOLEANS:
        allowed |= _BOOLEANS
    if words & _GEOMETRY:
        allowed.add("right")
    if any(_SHORT.fullmatch(word) for word in words - allowed):
        return True
    squeezed = _squeeze(answer)
    stems = set(_LONG.findall(squeezed) + _LONG.findall(squeezed[::-1]))
    return bool(stems - set(_LONG.findall(_squeeze(gold))))


def _squeeze(text: str) -> str:
    accents_off = unicodedata.normalize("NFKD", _LATEX_COMMAND.sub("", text)).lower()
    return "".join(char for char in accents_off.translate(_LEET) if char.isalpha())


def _wordy(answer: str, gold: str) -> bool:
    words, gold_words = ([w for w in _words(text) if len(w) > 2] for text in (answer, gold))
    return len(words) > _SPARE_WORDS + 2 * len(gold_words)
