"""Find the program in a completion: its last closed Markdown code block, read by a CommonMark parser.

Five rules stand beside CommonMark, for what models write otherwise than it reads:

- HTML is text, so `<answer>` on the line before a fence does not swallow it; a fence may also follow a tag directly.
- A fence may be indented by any number of spaces, and code below a list item by fewer than the item.
- A fence in a docstring closes nothing, if a later one does.
- If a block never closes, a fence at the end of a line of code closes it, and so does one before a closing tag, or one
  indented like code, unless in a docstring.
- Tags of the thinking count outside of code only: a program may hold `"</think>"` as a string.
"""

import re
from functools import cache
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, fence
from markdown_it.token import Token

from mot_trl.rewards.answer import THINK_CLOSE, THINK_OPEN

_INDENTED_CODE = 4  # spaces from which CommonMark reads no fence
# More fences than any answer has, which would take seconds to read.
_MAX_FENCES = 1_000
_MAX_UNINDENTED = 1_000  # lines of a block with less indent than the list item it stands in
# Fences in docstrings, each of which costs another pass.
_MAX_QUOTED = 8
_QUOTED = "\ue000"  # before such a fence, while the parser reads
# Thinking may break off inside of code, so that what follows has to be read anew; each time is another pass.
_MAX_CUTS = 3
# The language of a block: `python`, `Python3`, `py title="x"`, `{.python}`, but not `pycon` or `python-repl`.
_PYTHON = re.compile(r"[{.\s]*(?:python|py)[\d.]*(?![\w-])", re.IGNORECASE)
_TAG_BEFORE_FENCE = re.compile(r"[^\n]*(?:</think>|<answer>)[ \t]*(?=```|~~~)")
_FENCE_LINE = re.compile(r"^[^`~\n]*(?:```|~~~)", re.MULTILINE)
# Some tokenizers write these before a fence; none can begin a line of Python.
_INVISIBLE = re.compile("^[\ufeff\u200b-\u200d\u2060\f\v\x85\u2028\u2029]+(?=[ \t]*(?:```|~~~))", re.MULTILINE)


class _Block(NamedTuple):
    start: int  # the line of the opening fence
    end: int  # the line after the last one of the content
    is_python: bool
    content: str
    fence: str
    closed: bool


def code_block(text: str) -> str | None:
    """The last closed block marked as Python, else the last closed block, else None; after any thinking.

    Thinking that is opened and never closed has no program after it, nor has a text of over a thousand fences. Takes
    linear time.
    """
    if not 0 < len(_FENCE_LINE.findall(text)) <= _MAX_FENCES:
        return None
    text = _INVISIBLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    for _ in range(_MAX_CUTS):
        lines, blocks = _read(text)
        # A closing tag in a block that swallows another one's fence is not code: the thinking ended before its block.
        broken = [b for b in blocks if THINK_CLOSE in b.content and (not b.closed or _holds_fence(b))]
        if not broken:
            return _last(lines, blocks)
        rest = broken[-1].content.rpartition(THINK_CLOSE)[2]
        text = rest + "\n".join(lines[broken[-1].end :])
    return None


def _holds_fence(block: _Block) -> bool:
    return any(line.lstrip().startswith(block.fence) for line in block.content.split("\n"))


def _last(lines: list[str], blocks: list[_Block]) -> str | None:
    outside = [*lines]
    for block in blocks:
        outside[block.start + 1 : block.end] = [""] * (block.end - block.start - 1)
    answer = max((number for number, line in enumerate(outside) if THINK_CLOSE in line), default=0)
    if THINK_OPEN in "\n".join(outside[answer:]).rpartition(THINK_CLOSE)[2]:
        return None
    found = {block.is_python: block.content for block in blocks if block.closed and block.start >= answer}
    return found.get(True, found.get(False))


def _read(text: str) -> tuple[list[str], list[_Block]]:
    """The text's lines and its fenced blocks."""
    text, blocks = _quoted(text, _fenced(text))
    unclosed = [block for block in blocks if not block.closed]
    if unclosed:
        text = _free_fences(text, unclosed[0].fence)
        blocks = _fenced(text)
    return text.split("\n"), blocks


def _quoted(text: str, blocks: list[_Block]) -> tuple[str, list[_Block]]:
    """The text and its blocks, where fences in docstrings are none."""
    before = text, blocks
    for _ in range(_MAX_QUOTED):
        cut = next((block for block in blocks if block.closed and _quotes(block.content) % 2), None)
        if cut is None:
            return text, blocks
        lines = text.split("\n")
        lines[cut.end] = lines[cut.end].replace(cut.fence, _QUOTED + cut.fence, 1)
        text = "\n".join(lines)
        blocks = _fenced(text)
        if any(block.start == cut.start and not block.closed for block in blocks):
            break
    return before


def _quotes(code: str) -> int:
    return code.count('"""') + code.count("'''")


def _free_fences(text: str, fence: str) -> str:
    """Give each closing fence that shares a line with code or a tag, or is indented too far, a line of its own."""
    freed, quotes = [], 0
    for line in text.split("\n"):
        freed.append(_free_fence(line, fence) if quotes % 2 == 0 else line)
        quotes += _quotes(line)
    return "\n".join(freed)


def _free_fence(line: str, fence: str) -> str:
    code, found, tail = line.partition(fence)
    tail = tail.lstrip(fence[0]).strip()
    # A quote or a comment's sign before the fence: it belongs to the code.
    if not found or (tail and not tail.startswith(("</", "<|"))) or code.rstrip().endswith(('"', "'", "#")):
        return line
    indent = code[: len(code) - len(code.lstrip(" \t>"))][: _INDENTED_CODE - 1]
    return "\n".join([*[code] * bool(code.strip(" \t>")), indent + fence, *[tail] * bool(tail)])


def _fenced(text: str) -> list[_Block]:
    found = []
    for token in _markdown().parse(text + "\n"):
        if token.type == "fence" and token.map is not None:
            closed = _is_closed(token)
            is_python = _PYTHON.match(token.info) is not None
            content = token.content.removeprefix("\ufeff").replace(_QUOTED, "")
            found.append(_Block(token.map[0], token.map[1] - closed, is_python, content, token.markup, closed))
    return found


def _is_closed(token: Token) -> bool:
    # An unclosed block lacks one of the two lines of fences around the content.
    start, end = token.map or (0, 0)
    return end - start == token.content.count("\n") + 2


@cache
def _markdown() -> MarkdownIt:
    # Only what decides where a fence is; everything else is a paragraph.
    parser = MarkdownIt("zero").enable(["blockquote", "code", "list"]).disable(["inline", "text_join"])
    interrupts = ["paragraph", "reference", "blockquote", "list"]
    parser.block.ruler.before("code", "fence_anywhere", _fence_anywhere, {"alt": interrupts})
    return parser


def _fence_anywhere(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """CommonMark's fence, but behind a tag or at any indentation as well."""
    tag = _TAG_BEFORE_FENCE.match(state.src, state.bMarks[start], state.eMarks[start])
    if tag:
        state.bMarks[start], state.tShift[start], state.sCount[start] = tag.end(), 0, state.blkIndent
    outer = state.blkIndent
    if state.sCount[start] - outer >= _INDENTED_CODE:
        state.blkIndent = state.sCount[start]
    found = fence(state, start, end, silent)
    if found and not silent and state.line < end and not _is_closed(state.tokens[-1]):
        _read_unindented(state, start, min(end, start + _MAX_UNINDENTED))
    state.blkIndent = outer
    return found


def _read_unindented(state: StateBlock, start: int, end: int) -> None:
    """Read a block again that a line with too little indent has ended, and keep the reading that is closed, if any."""
    first, line, indent = state.tokens.pop(), state.line, state.sCount[start]
    state.blkIndent = state.sCount[start] = 0  # the latter is cut from each line
    if not fence(state, start, end, False) or not _is_closed(state.tokens[-1]):
        state.tokens[-1:], state.line = [first], line
        return
    # Only the closing fence may have lacked the indent.
    code = state.tokens[-1].content.split("\n")
    if all(line.startswith(" " * indent) or not line.strip() for line in code):
        state.tokens[-1].content = "\n".join(line[indent:] for line in code)
