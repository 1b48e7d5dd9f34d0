"""What is missing is named by packages, which every index has."""

import re
from importlib import metadata

import pytest

from mot_trl.extras import install_hint


def test_a_hint_names_packages_with_their_versions() -> None:
    assert install_hint("plots") == 'pip install "matplotlib>=3.9" (the extra mot-trl[plots])'
    assert re.search(r'^pip install .*"latex2sympy2.extended\[antlr4.13.2]"', install_hint("math"))
    assert '"math-verify<0.10,>=0.9"' in install_hint("math")


@pytest.mark.parametrize("extra", ["math", "code", "rg", "judge", "plots", "vision", "eval", "vllm"])
def test_every_extra_needs_something(extra: str) -> None:
    assert '"' in install_hint(extra)


def test_without_an_installation_the_clone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", missing)

    assert install_hint("rg") == 'pip install ".[rg]" in a clone'
