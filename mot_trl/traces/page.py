"""The HTML page of a run's traces: one file, opened from disk, that asks no network for anything."""

import base64
import gzip
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa

from mot_trl.traces.storage import load_traces, read_metadata, trace_files

MAX_BYTES = 10_000_000
MAX_CANDIDATES = 16
"""Candidates shown of a mixture; the others are added up."""


def write_page(run_dir: Path | str, path: Path | str | None = None, *, max_bytes: int = MAX_BYTES) -> tuple[Path, int]:
    """Write the page of a run; `path` is by default `traces.html` in the run's folder.

    Returns:
        The file, and how many completions were left out, evenly over the steps, to keep it within `max_bytes`.

    Raises:
        FileNotFoundError: The run has no traces.
        ValueError: Not even one step's completions fit.
    """
    run_dir = Path(run_dir).resolve()
    traces = load_traces(run_dir)
    path = Path(path) if path is not None else run_dir / "traces.html"
    page, left_out = fit(traces, run=run_dir.name, about=read_metadata(trace_files(run_dir)[-1]), max_bytes=max_bytes)
    path.write_text(page, encoding="utf-8")
    return path, left_out


def fit(traces: pa.Table, *, run: str, about: Mapping[str, Any], max_bytes: int) -> tuple[str, int]:
    """The page of as many steps as fit, evenly spaced, the first and the last among them.

    Raises:
        ValueError: Not even one step's completions fit.
    """
    of_row = traces["step"].to_pylist()
    steps = sorted(set(of_row))
    kept = steps
    while True:
        chosen = set(kept)
        table = traces.filter(pa.array([step in chosen for step in of_row]))
        left_out = traces.num_rows - table.num_rows
        page = render(table.to_pylist(), run=run, about=about, left_out=left_out)
        size = len(page.encode())
        if size <= max_bytes:
            return page, left_out
        if len(kept) == 1:
            raise ValueError(
                f"The {table.num_rows} completions of step {kept[0]} alone make a page of {size} bytes, over "
                f"`max_bytes={max_bytes}`; trace fewer with `trace_samples`."
            )
        count = max(1, min(len(kept) - 1, int(len(kept) * max_bytes / size)))
        spaced = [round(index * (len(steps) - 1) / max(count - 1, 1)) for index in range(count)]
        kept = [steps[index] for index in spaced]


def render(rows: Sequence[Mapping[str, Any]], *, run: str, about: Mapping[str, Any], left_out: int = 0) -> str:
    """The page of trace rows, each as `load_traces(...).to_pylist()` gives it."""
    described = [f"{name.replace('_', ' ')} {value}" for name, value in about.items() if name != "version"]
    if left_out:
        described.append(f"{left_out} completions left out to keep the page small")
    payload = {"run": run, "about": " · ".join(described), **to_payload(rows)}
    # Compressed and in base64, so that no text of a completion is in the page's source at all.
    packed = gzip.compress(json.dumps(payload, allow_nan=False, separators=(",", ":")).encode(), mtime=0)
    template, style, script = (
        files("mot_trl.traces").joinpath(name).read_text(encoding="utf-8")
        for name in ("page.html", "page.css", "page.js")
    )
    parts = {
        "style": style,
        "script": script,
        "style_hash": _csp_hash(style),
        "script_hash": _csp_hash(script),
        "payload": base64.b64encode(packed).decode(),
    }
    for name, part in parts.items():
        template = template.replace("{{" + name + "}}", part)
    return template


def to_payload(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the page's script reads: texts once, numbers as small integers (weights in 1e-4, nats in 1e-3)."""
    vocabulary: dict[str, int] = {}
    prompts: dict[str, int] = {}
    completions = [_completion(index, row, vocabulary, prompts) for index, row in enumerate(rows)]
    widest = max((value for completion in completions for value in completion["effective"]), default=100)
    return {"vocabulary": list(vocabulary), "prompts": list(prompts), "most": widest / 100, "completions": completions}


def _completion(
    index: int, row: Mapping[str, Any], vocabulary: dict[str, int], prompts: dict[str, int]
) -> dict[str, Any]:
    told: dict[str, list[Any]] = {
        name: [] for name in ("counts", "candidates", "weights", "visible", "rest", "effective")
    }
    for position, visible_id in enumerate(row["completion_ids"]):
        merged: dict[int, float] = {}
        texts: dict[int, str] = {}
        drawn = (row[name][position] for name in ("candidate_ids", "candidate_tokens", "log_weights"))
        for token_id, text, log_weight in zip(*drawn, strict=True):
            weight = math.exp(log_weight)
            if weight > 0:
                merged[token_id] = merged.get(token_id, 0.0) + weight
                texts[token_id] = text
        heaviest = sorted(merged, key=lambda token_id: (-merged[token_id], token_id != visible_id))
        shown, rest = heaviest[:MAX_CANDIDATES], heaviest[MAX_CANDIDATES:]
        told["counts"].append(len(shown))
        told["candidates"].extend(vocabulary.setdefault(texts[token_id], len(vocabulary)) for token_id in shown)
        told["weights"].extend(round(merged[token_id] * 10_000) for token_id in shown)
        told["visible"].append(shown.index(visible_id) if visible_id in shown else -1)
        told["rest"].append([len(rest), round(sum(merged[token_id] for token_id in rest) * 10_000)] if rest else 0)
        told["effective"].append(round(100 / sum(weight**2 for weight in merged.values())) if merged else 100)
    return {
        "index": index,
        **{name: row[name] for name in ("step", "split", "group", "sample", "closed_by", "truncated")},
        "reward": _finite(row["reward"]),
        "advantage": _finite(row["advantage"]),
        "rewards": {reward["name"]: _finite(reward["value"]) for reward in row["rewards"]},
        "prompt": prompts.setdefault(row["prompt"], len(prompts)),
        "tokens": [vocabulary.setdefault(text, len(vocabulary)) for text in row["tokens"]],
        "kinds": "".join(kinds(row)),
        "phases": [[phase["position"], phase["phase"], phase["cause"]] for phase in row["phases"]],
        "logps": [_thousandths(value) for value in row["logps"]],
        "entropies": [_thousandths(value) for value in row["entropies"]],
        **told,
    }


def kinds(row: Mapping[str, Any]) -> list[str]:
    """A letter a token: w waiting, m mixed, t thinking in one token, f forced, a answering."""
    letters = []
    seen_thinking = False
    for thinking, mixed, forced in zip(row["thinking"], row["mixed"], row["forced"], strict=True):
        seen_thinking |= thinking
        letters.append("m" if mixed else "t" if thinking else "f" if forced else "a" if seen_thinking else "w")
    return letters


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _thousandths(value: float | None) -> int | None:
    return round(value * 1000) if value is not None and math.isfinite(value) else None


def _csp_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
