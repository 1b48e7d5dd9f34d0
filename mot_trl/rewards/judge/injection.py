r"""Filter out answers that talk to the judge, hide characters or carry markup, before any call.

A judge believes some of what it reads, so each of these is worth 0. The single symbols and the reasoning openers are
those that "One Token to Fool LLM-as-a-Judge" (arXiv:2507.08794) measured against real judges.
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
_BOOLEANS = {"true", "false", "yes", "no"}
_GEOMETRY = {"triangle", "angle", "angled", "angles"}

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
_SPARE_WORDS = 6


def tidy(text: str) -> str:
    """The text with each run of white space as one space: the form that is hashed, filtered and sent."""
    return " ".join(text.split())


def is_offense(answer: str, gold: str) -> bool:
    """Whether `answer` must not reach a judge.

    What the gold answer does itself is no offense: a gold in Japanese, or "True", lets answers be the same.
    """
    # NFKC turns full-width and mathematical letters into the plain ones that they look like.
    answer, gold = _PREFACE.sub("", unicodedata.normalize("NFKC", answer)), unicodedata.normalize("NFKC", gold)
    words, gold_words = (len([word for word in _words(text) if len(word) > 2]) for text in (answer, gold))
    return (
        not any(char.isalnum() for char in answer)
        or bool(_odd_characters(answer) - _odd_characters(gold))
        or any(found.search(answer) and not found.search(gold) for found in (_STRUCTURE, _ENCODED, _OPENER))
        or _talks_to_judge(answer, gold)
        or words > _SPARE_WORDS + 2 * gold_words
    )


def instructs(text: str, rubric: str) -> bool:
    """Whether free text carries markup of prompts, hidden characters, or the plainest pleas to its grader.

    Far weaker than `is_offense`, as an essay may speak of almost anything. What the rubric itself says is allowed.
    """
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


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(_LATEX_COMMAND.sub(" ", text))]


def _talks_to_judge(answer: str, gold: str) -> bool:
    words, allowed = set(_words(answer)), set(_words(gold))
    # "yes" may answer "true", and a triangle may be right.
    allowed |= _BOOLEANS if allowed & _BOOLEANS else set()
    allowed |= {"right"} if words & _GEOMETRY else set()
    return any(_SHORT.fullmatch(word) for word in words - allowed) or bool(_stems(answer) - _stems(gold))


def _stems(text: str) -> set[str]:
    unaccented = unicodedata.normalize("NFKD", _LATEX_COMMAND.sub("", text)).lower()
    squeezed = "".join(char for char in unaccented.translate(_LEET) if char.isalpha())
    return set(_LONG.findall(squeezed) + _LONG.findall(squeezed[::-1]))
