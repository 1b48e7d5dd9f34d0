"""What README and docs tell to type is there, and works."""

import ast
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import make_model, make_tokenizer

from mot_trl.tasks import gsm8k

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")])


def blocks(page: Path) -> list[str]:
    """The Python blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def by_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_python_blocks_import_what_is_there(page: Path) -> None:
    for block in blocks(page):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("mot_trl"):
                module = import_module(str(node.module))
                for alias in node.names:
                    assert hasattr(module, alias.name) or find_spec(f"{node.module}.{alias.name}"), alias.name


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_commands_and_links_lead_to_files(page: Path) -> None:
    text = page.read_text()

    for module in re.findall(r"python -m (mot_trl[\w.]*)", text):
        assert find_spec(module) is not None, module
    for script in re.findall(r"(?:python|launch|pytest) (?:-\S+ )*((?:recipes|benchmarks|tests)/[\w/.]+)", text):
        assert (ROOT / script).exists(), script
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (page.parent / link).exists(), link


def test_the_scripts_of_the_readme_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_model().save_pretrained("model")
    make_tokenizer().save_pretrained("model")
    script, generating, *_ = blocks(ROOT / "README.md")
    small = "max_completion_length=8, max_steps=1, bf16=False, use_cpu=True, report_to=[], save_strategy='no'"
    for given, instead in (
        ("Qwen/Qwen2.5-1.5B-Instruct", "model"),
        ('load("train")', f'load("train", {str(gsm8k.FIXTURE)!r})'),
        ("max_completion_length=1024", small),
    ):
        assert given in script
        script = script.replace(given, instead)
    names: dict[str, object] = {}

    exec(script, names)
    exec(generating.replace("=512", "=8"), {"model": make_model(), "tokenizer": make_tokenizer()})

    assert names["trainer"].state.global_step == 1  # ty: ignore[unresolved-attribute]
    assert capsys.readouterr().out.rstrip().endswith("']")
