"""Imports point down only, and only the top mentions TRL."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "mot_trl"

# From the ground up: a module may import those on floors below its own, or beside it where they stand together.
FLOORS = [
    {"mixture", "blame", "checkpoints", "space", "memory"},
    {"strategies"},
    {"presets", "rollout", "phases", "checksums", "kernels", "attention", "sharding"},
    {
        "embedding",
        "cache",
        "processors",
        "shared_cache",
        "cascade",
        "metrics",
        "dropping",
        "sharing",
        "families",
        "streaming",
        "batching",
        "models",
        "pretraining",
    },
    {"decoding"},
    {"generation", "logps"},
    {"settings", "show", "traces", "plots"},
    {
        "carried",
        "flatten",
        "measuring",
        "evaluation_records",
        "evaluation_statistics",
        "evaluation_models",
        "evaluation_report",
    },
    {"config", "card", "nano_card", "callbacks", "evaluation_sampling", "harness"},
    {"evaluation", "export"},
    {"resuming"},
    {"trainer", "generate"},
    {"training", "study"},
]
GRADING_SIDE = {"tasks": {"grading", "sandbox"}, "grading": set(), "sandbox": set()}
MAY_IMPORT_TRL = {"trainer", "config", "logps", "training"}


def imports(path: Path) -> set[str]:
    """What a file imports, at whatever depth: dotted names."""
    names: set[str] = set()
    tree = ast.parse(path.read_text())
    # What only the type checker reads may point up: a helper of the trainer's names the trainer.
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def parts_imported(path: Path) -> set[str]:
    own = {name.split(".")[1] for name in imports(path) if name.startswith("mot_trl.")}
    return {name for name in own if (PACKAGE / f"{name}.py").exists() or (PACKAGE / name).is_dir()}


def files() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    name = part(path)
    others = parts_imported(path) - {name}
    floors = [number for number, floor in enumerate(FLOORS) if name in floor]
    if name in GRADING_SIDE:
        assert others <= GRADING_SIDE[name]
        return
    assert floors, f"{name} has no floor: give it one in this test and in ARCHITECTURE.md"
    below = set().union(*FLOORS[: floors[0] + 1]) | set(GRADING_SIDE)
    assert others <= below


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_top_mentions_trl(path: Path) -> None:
    if part(path) not in MAY_IMPORT_TRL:
        assert not {name for name in imports(path) if name.split(".")[0] == "trl"}


def test_every_part_has_a_floor() -> None:
    known = set().union(*FLOORS) | set(GRADING_SIDE)

    assert {part(path) for path in files()} <= known


def test_recipes_are_short() -> None:
    for path in (PACKAGE.parent / "recipes").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 60, path.name
