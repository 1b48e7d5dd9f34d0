"""Imports point down, without circles, and only the top mentions TRL."""

import ast
import shutil
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "mot_trl"

# From the ground up: each folder, and the folders that it may import.
FOLDERS: dict[str, set[str]] = {
    "extras": set(),
    "strategies": set(),
    "sandbox": set(),
    "modeling": {"strategies"},
    "rewards": {"sandbox", "extras"},
    "tasks": {"rewards", "sandbox", "extras"},
    "generation": {"rewards", "modeling", "strategies"},
    "engines": {"extras", "generation", "modeling", "strategies"},
    "evaluation": {"engines", "extras", "rewards", "tasks", "generation", "modeling", "strategies"},
    "traces": {"extras", "generation", "modeling", "strategies"},
    "trainer": {"rewards", "traces", "engines", "generation", "modeling", "strategies"},
}
FOLDERS |= {"recipes": set(FOLDERS)}
FOLDERS |= {"commands": set(FOLDERS), "cli.py": {"commands", "__init__.py"}}
MAY_IMPORT_TRL = {"trainer", "recipes", "modeling/candidate_head.py"}


def imports(path: Path) -> set[str]:
    """Dotted names of all that a file imports, at whatever depth, also for type checkers alone."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def files(package: Path) -> list[Path]:
    return [path for path in sorted(package.rglob("*.py")) if path != package / "__init__.py"]


def folder(path: Path, package: Path) -> str:
    # A folder's `__main__.py` is nothing to import, but another way to call a command.
    return "commands" if path.name == "__main__.py" else path.relative_to(package).parts[0]


def module_of(name: str, package: Path) -> Path | None:
    """The file of the package that an imported name comes from."""
    parts = name.split(".")
    if parts[0] != package.name:
        return None
    for end in range(len(parts), 1, -1):
        place = package.joinpath(*parts[1:end])
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                return file
    return package / "__init__.py"


def imported(path: Path, package: Path) -> set[Path]:
    return {file for name in imports(path) if (file := module_of(name, package)) is not None} - {path}


def upward(package: Path) -> list[str]:
    """Imports of a folder that the importing one may not see; the package's own names are for users."""
    return [
        f"{path.relative_to(package)} imports {file.relative_to(package)}"
        for path in files(package)
        for file in sorted(imported(path, package))
        if folder(file, package) not in FOLDERS[folder(path, package)] | {folder(path, package)}
    ]


def circle(package: Path) -> list[str]:
    """Modules that import one another in a circle; empty if there is none."""
    graph = {path: imported(path, package) for path in files(package)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [str(path.relative_to(package)) for path in error.args[1]]
    return []


def test_imports_point_down() -> None:
    assert upward(PACKAGE) == []


def test_there_is_no_circle() -> None:
    assert circle(PACKAGE) == []


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PACKAGE, tmp_path / "mot_trl", ignore=shutil.ignore_patterns("*.safetensors")))


def plant(path: Path, line: str) -> None:
    path.write_text(f"{path.read_text()}\n{line}\n")


def test_a_planted_upward_import_is_found(copy: Path) -> None:
    plant(copy / "rewards" / "answer.py", "from mot_trl.modeling.rollout import Rollout")

    assert upward(copy) == ["rewards/answer.py imports modeling/rollout.py"]


def test_a_planted_circle_is_found_even_where_only_type_checkers_look(copy: Path) -> None:
    plant(copy / "strategies" / "mixture.py", "if TYPE_CHECKING:\n    from mot_trl.strategies.top_k import TopK")

    assert upward(copy) == []
    assert "strategies/mixture.py" in circle(copy)


def test_the_root_holds_the_folders_and_nothing_else() -> None:
    entries = {path.name for path in PACKAGE.iterdir()} - {"__pycache__"}

    assert entries == {*FOLDERS, "__init__.py", "py.typed"}


def test_only_the_top_mentions_trl() -> None:
    for path in files(PACKAGE):
        if not {folder(path, PACKAGE), str(path.relative_to(PACKAGE))} & MAY_IMPORT_TRL:
            assert not {name for name in imports(path) if name.split(".")[0] == "trl"}, path


def test_recipes_are_short() -> None:
    for path in [*(PACKAGE.parent / "recipes").glob("*.py"), *(PACKAGE / "recipes").glob("*.py")]:
        assert len(path.read_text().splitlines()) <= 60, path.name
