"""Every family attends to shared prompts in parts, small as they are; rows that are decoded alone do not."""

import pytest

from mot_trl import shared_cache


@pytest.fixture(autouse=True)
def _prompts_are_worth_sharing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LEAST_PROMPT", "LEAST_ROWS", "LEAST_RECENT"):
        monkeypatch.setattr(shared_cache, name, 1)
