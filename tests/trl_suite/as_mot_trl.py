"""A plug-in of pytest: TRL's tests find `MoTGRPOTrainer` under the name of TRL's, and outcomes are written down."""

import json
import os
from collections.abc import Callable, Generator
from dataclasses import field, make_dataclass
from pathlib import Path
from typing import Any

import pytest
import trl
from trl import import_utils
from trl.trainer.base_config import _BaseConfig

import mot_trl
from mot_trl.trainer import grpo_trainer

MODES: dict[str, dict[str, Any] | None] = {
    "trl": None,
    "mixtures": {},
    "one_token": {"strategy": "one_token"},
    "normal": {"normal_generation": True},
}
"""What each mode sets; None for TRL's own trainer."""

MODE, RESULTS = "TRL_SUITE_MODE", "TRL_SUITE_RESULTS"
PACKAGE = str(Path(mot_trl.__file__).parent)


def pytest_configure(config: pytest.Config) -> None:
    _BaseConfig.__post_init__ = _one_epoch(_BaseConfig.__post_init__)
    import_utils.__getattr__ = _has_no_package  # ty: ignore[invalid-assignment]
    settings = MODES[os.environ[MODE]]
    if settings is None:
        return
    fields = [(name, Any, field(default=value)) for name, value in settings.items()]
    kind = make_dataclass("GRPOConfig", fields, bases=(mot_trl.MoTGRPOConfig,))
    # Checkpoints pickle the configuration, by the place of its class.
    kind.__module__, globals()["GRPOConfig"] = __name__, kind
    # The second is what the trainer makes where a test gives it no configuration.
    trl.GRPOConfig = grpo_trainer.MoTGRPOConfig = kind
    trl.GRPOTrainer = mot_trl.MoTGRPOTrainer


def _one_epoch(check: Callable[[Any], None]) -> Callable[[Any], None]:
    """Train one epoch where a test leaves transformers' three: as much is tested, in a third of the time."""

    def checked(config: Any) -> None:
        if config.num_train_epochs == 3.0:
            config.num_train_epochs = 1.0
        check(config)

    return checked


def _has_no_package(name: str) -> Any:
    # Tests of another version may ask for a package that the installed one does not know: it has no use for it.
    if name.startswith("is_") and name.endswith("_available"):
        return lambda: False
    raise AttributeError(name)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    # Before TRL's own hook, which clears the traceback.
    error = None if call.excinfo is None else call.excinfo
    where = "" if error is None else str(error.traceback[-1].path)
    result = yield
    report = result.get_result()
    if report.when != "call" and report.outcome == "passed":
        return
    outcome = "xfailed" if getattr(report, "wasxfail", "") and report.skipped else report.outcome
    line: dict[str, Any] = {"test": item.nodeid.split("::", 1)[1], "outcome": outcome}
    if error is not None:
        line |= {"error": error.typename, "message": str(error.value), "ours": where.startswith(PACKAGE)}
    with open(os.environ[RESULTS], "a") as file:
        file.write(json.dumps(line) + "\n")
