"""The page of papers has every paper that the package cites, and every preset beside its own."""

import re
from pathlib import Path

import pytest

from mot_trl.strategies import STRATEGIES
from mot_trl.strategies.presets import PRESETS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")
ROWS = {
    match[1]: match[0]
    for match in re.finditer(r"^\|.*\[(\d{4}\.\d{5})\]\(https://arxiv.org/abs/\1\).*$", PAGE, re.MULTILINE)
}
PUBLISHED = [name for name, preset in PRESETS.items() if not preset.source.startswith("This library")]


def test_every_paper_that_the_package_cites_is_listed():
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "mot_trl").rglob("*.py"))

    assert set(re.findall(r"arXiv:? ?(\d{4}\.\d{5})", text)) == set(ROWS)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_preset_stands_in_the_row_of_its_paper(name: str):
    cited = re.findall(r"arXiv (\d{4}\.\d{5})", PRESETS[name].source)

    assert all(f"`{name}`" in ROWS[paper] for paper in cited)
    assert all(f"`{PRESETS[name].strategy}`" in ROWS[paper] for paper in cited)


def test_every_strategy_and_preset_is_named():
    assert not [name for name in (*STRATEGIES, *PRESETS) if f"`{name}`" not in PAGE]
