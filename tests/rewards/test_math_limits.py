import threading
import time

import pytest
from hazards_list import HAZARDS

from mot_trl.rewards.math.equivalence import _is_equivalent, is_equivalent
from mot_trl.rewards.math.math_verify import verify

pytest.importorskip("math_verify")
# Seconds: computer algebra has 2, and the sandbox waits up to five times as long where processors are busy.
LIMIT = 13.0


@pytest.fixture(scope="module", autouse=True)
def _started():
    assert verify(r"\log_2 8", "3", timeout=10.0)
    _is_equivalent.cache_clear()


def timed(gold, answer):
    start = time.perf_counter()
    verdict = is_equivalent(gold, answer)
    return verdict, time.perf_counter() - start


@pytest.mark.parametrize("name", HAZARDS)
@pytest.mark.parametrize("gold", ["5", pytest.param(r"\frac{x+1}{\log_2 x}", marks=pytest.mark.slow)])
def test_hazards_are_wrong_soon(name, gold, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = []

    thread = threading.Thread(target=lambda: results.append(timed(gold, HAZARDS[name])), daemon=True)
    thread.start()
    thread.join(LIMIT)
    _is_equivalent.cache_clear()
    results.append(timed(gold, HAZARDS[name]))

    assert len(results) == 2
    assert [verdict for verdict, _ in results] == [False, False]
    assert max(seconds for _, seconds in results) < LIMIT
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("gold", ["9^{9^{9^9}}", "x^{9999999}+1"])
def test_hazardous_golds_are_answered_soon_too(gold):
    assert timed(gold, "5")[1] < LIMIT
