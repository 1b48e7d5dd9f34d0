"""`mot-trl plan`: what it prints, and the table of the docs that it makes."""

import re
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from mot_trl import cli

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "real_runs.md"


def config(size: str) -> str:
    return str(ROOT / "tests" / "configs" / f"Qwen2.5-{size}-Instruct.json")


def plan(size: str, *flags: str) -> tuple[int, str]:
    """Exit status and output for one of the models that the docs plan with."""
    shown = StringIO()
    with redirect_stdout(shown), redirect_stderr(StringIO()):
        status = cli.main(["plan", config(size), *flags])
    return status, shown.getvalue()


def row(size: str, gpus: str, flags: str) -> str:
    """A row of the page's table."""
    status, shown = plan(size, *flags.split())
    peak, tokens = re.findall(r"Peak ([\d.]+) of|at most ([\d,]+) tokens", shown)
    batch, steps = re.findall(r"batch_size (\d+)|accumulation_steps (\d+)", shown)
    fits = "no" if status else "yes"
    return f"| {size} | {gpus} | `{flags}` | {peak[0]} | {fits} | {batch[0]} x {steps[1]} | {tokens[1]} |"


@pytest.mark.slow
def test_the_table_of_the_docs_is_what_the_command_computes() -> None:
    rows = re.findall(r"^\| ([\d.]+B) \| ([^|]+) \| `([^`]+)` \|.*$", PAGE.read_text(), re.MULTILINE)

    assert len(rows) == 24
    for found in rows:
        assert row(*found) in PAGE.read_text()


@pytest.mark.parametrize(("size", "count"), [("1.5B", 1_543_714_304), ("3B", 3_085_938_688), ("7B", 7_615_616_512)])
def test_parameters_are_those_that_the_models_have(size: str, count: int) -> None:
    assert plan(size)[1].startswith(f"{count:,} parameters")


def test_the_parts_of_a_run_in_full_are_sixteen_bytes_a_parameter() -> None:
    status, shown = plan("1.5B", "--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "4")

    sizes = {name: float(size) for name, size in re.findall(r"^  (\S[^\d\n]*?) {2,}([\d.]+)$", shown, re.MULTILINE)}
    assert status == 0
    assert sizes["weights"] + sizes["AdamW"] + sizes["gradients"] == pytest.approx(
        16 * 1_543_714_304 / 2**30, abs=0.02
    )
    # Keys and values of 2 heads of 128 in 28 layers, in float32, for 8 rows of 1,280 tokens.
    assert sizes["key-value cache"] == pytest.approx(8 * 1280 * 28 * 2 * 256 * 4 / 2**30, abs=0.01)


def test_flags_are_those_of_the_recipes() -> None:
    flags = "--method qlora --beta 0.1 --vllm_gpu_memory_utilization 0.25 --no_gradient_checkpointing"
    _, shown = plan("1.5B", *flags.split())

    for flag in ("--load_in_4bit", "--use_peft", "--beta 0.1", "--no_gradient_checkpointing", "utilization 0.25"):
        assert flag in shown


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--gpus 0", "'0' must be a whole number, at least 1"),
        ("--method lore", "invalid choice: 'lore'"),
        ("--sharding fsdp2", "needs --gpus 2 or more"),
        ("--vllm_gpu_memory_utilization 1.5", "is a share of the GPU, below 1"),
        ("--per_device_train_batch_size 3", "3 completions a step are no whole groups of 8"),
    ],
)
def test_bad_values_are_told_in_a_line(flags: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["plan", config("1.5B"), *flags.split()])

    assert message in capsys.readouterr().err
