"""Two processes train as one with the same global batch."""

import json
from pathlib import Path
from typing import Any

import pytest
from processes import run

SCRIPT = Path(__file__).with_name("train_tiny.py")


def results(folder: Path, processes: int, *flags: str) -> list[dict[str, Any]]:
    outputs = run(SCRIPT, processes, str(folder), str(processes), *flags, folder=folder)
    lines = [next(line for line in output.splitlines() if line.startswith("RESULT ")) for output in outputs]
    return [json.loads(line.removeprefix("RESULT ")) for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("visible_only",)], ids=["mixtures", "no mixture at all"])
def test_two_processes_train_as_one(flags: tuple[str, ...], tmp_path: Path) -> None:
    (one,) = results(tmp_path / "one", 1, *flags)
    two, other = results(tmp_path / "two", 2, *flags)

    for step, (alone, together) in enumerate(zip(one["history"], two["history"], strict=True)):
        for name, value in alone.items():
            assert together[name] == pytest.approx(value, abs=2e-5, rel=1e-4), (step, name)
    assert two["weight"] == pytest.approx(one["weight"], rel=1e-6)
    # Were they left to the end of the process, they could keep it from ending.
    assert two["gloo_threads"] == other["gloo_threads"] == 0
