r"""Read matrices: in any environment, in any brackets around an `array`, transposed, and with a scalar in front."""

import re

from mot_trl.rewards.math.parts import Compound, split

_TRANSPOSED = r"\s*\^\s*\{?\s*(?:T|\\(?:top|intercal|mathsf\s*\{?\s*T\s*\}?))\s*\}?"
# `(1, 2, 3)^T` is a column.
_COLUMN = re.compile(rf"[(\[](?P<items>[^()\[\]]*,[^()\[\]]*)[)\]]{_TRANSPOSED}")
_MATRIX = re.compile(
    r"(?P<scalar>.*?)(?P<opening>[(\[|]?)\s*(?:(?<!\\)\{)?\s*"
    r"\\begin\s*\{(?P<name>[pbBvV]?(?:small)?matrix|array)(?P<star>\*?)\}\s*(?:\{(?:[lcr|\s]|@\{[^{}]*\})+\}|\[[lcr]\])?"
    r"(?P<body>.*)\\end\s*\{(?P=name)(?P=star)\}\s*\}?\s*(?P<closing>[)\]|]?)(?P<transposed>" + _TRANSPOSED + ")?",
    re.DOTALL,
)
_CLOSINGS = {"(": ")", "[": "]", "|": "|", "": ""}
# A row may end in a distance to the next one, `\\[2pt]`, or in a star.
_ROW_END = re.compile(r"\\\\(?:\s*\*|\s*\[\s*-?[0-9.]+\s*[a-z]{2}\s*\])")


def read_matrix(text: str) -> Compound | None:
    """The entries of a matrix, row by row, a scalar in front multiplied in; None where `text` is no matrix."""
    if "^" in text and (column := _COLUMN.fullmatch(text.strip())):
        cells = tuple(split(column["items"], ","))
        return Compound("matrix", "x".join("1" * len(cells)), cells)
    match = _MATRIX.fullmatch(text.strip()) if r"\begin" in text else None
    if match is None or r"\begin" in match["body"] or _CLOSINGS[match["opening"]] != match["closing"]:
        return None
    # A system of equations.
    if match["name"] == "array" and not match["opening"] and "=" in match["body"]:
        return None
    scalar = _scalar(match["scalar"])
    # Bars make a number of the same entries, and a factor in front does not multiply each of them.
    is_determinant = match["name"] in ("vmatrix", "Vmatrix") or match["opening"] == "|"
    if scalar is None or (scalar and is_determinant):
        return None
    body = _ROW_END.sub(r"\\\\", match["body"]).replace(r"\hline", "")
    rows = [split(row, "&") for row in split(body, "\\\\") if row]
    if match["transposed"] and len({len(row) for row in rows}) == 1:
        rows = [list(column) for column in zip(*rows, strict=True)]
    cells = tuple(f"({scalar})({cell})" if scalar else cell for row in rows for cell in row)
    shape = "x".join(str(len(row)) for row in rows)
    return Compound("matrix", f"{'determinant' if is_determinant else ''}{shape}", cells)


def _scalar(text: str) -> str | None:
    """The factor before a matrix, "" for none; None where that is no factor, as the `A +` of `A + B`."""
    text = text.strip().removesuffix(r"\cdot").removesuffix("*").strip()
    sign, rest = (text[0], text[1:].strip()) if text.startswith(("+", "-")) else ("", text)
    # `\{` opens a system of equations.
    if r"\{" in rest or len(split(rest, "+", "-", "=", ",", ";", r"\in")) > 1:
        return None
    return f"{sign}{rest or 1}" if text else ""
