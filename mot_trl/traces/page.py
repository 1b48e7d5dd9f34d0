"""The HTML page of a run's traces: one self-contained file, opened from disk, that makes no network request."""

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

from mot_trl.traces.phase_changes import token_phases
from mot_trl.traces.schema import LOG_ZERO_WEIGHT
from mot_trl.traces.storage import load_traces, read_metadata, trace_files

MAX_BYTES = 10_000_000
MAX_CANDIDATES = 16
"""Candidates shown per mixture; the others are summed up."""


def write_page(run_dir: Path | str, path: Path | str | None = None, *, max_bytes: int = MAX_BYTES) -> tuple[Path, int]:
    """Write the page of a run, by default to `traces.html` in its folder.

    Returns:
        The file, and how many completions were left out, evenly over the steps, to keep it within `max_bytes`.

    Raises:
        FileNotFoundError: The run has no traces.
        ValueError: Not even one step's completions fit.
    """
    run_dir = Path(run_dir).resolve()
    path = Path(path) if path is not None else run_dir / "traces.html"
    traces, metadata = load_traces(run_dir), read_metadata(trace_files(run_dir)[-1])
    steps = kept = traces["step"].unique().to_pylist()
    while True:
        table = traces.filter(pa.array([step in kept for step in traces["step"].to_pylist()]))
        left_out = traces.num_rows - table.num_rows
        page = render(table.to_pylist(), run=run_dir.name, metadata=metadata, left_out=left_out).encode()
        size = len(page)
        if size <= max_bytes:
            path.write_bytes(page)
            return path, left_out
        if len(kept) == 1:
            raise ValueError(
                f"The {table.num_rows} completions of step {kept[0]} alone make a page of {size} bytes, over "
                f"`max_bytes={max_bytes}`; trace fewer with `trace_samples`."
            )
        # The compressed size is known only after rendering: guess in proportion, and always drop at least one step.
        count = max(1, min(len(kept) - 1, int(len(kept) * max_bytes / size)))
        kept = [steps[round(index * (len(steps) - 1) / max(count - 1, 1))] for index in range(count)]


def render(rows: Sequence[Mapping[str, Any]], *, run: str, metadata: Mapping[str, Any], left_out: int = 0) -> str:
    """The page of trace rows, each as `load_traces(...).to_pylist()` gives it."""
    facts = [f"{name.replace('_', ' ')} {value}" for name, value in metadata.items() if name != "version"]
    if left_out:
        facts.append(f"{left_out} completions left out to keep the page small")
    payload = {"run": run, "about": " · ".join(facts), **to_payload(rows)}
    # Completions are untrusted. Compressed and base64-encoded, none of their text is in the page's source, so no
    # `</script>` in it can end the element; the page's script only ever puts it into text nodes.
    packed = gzip.compress(json.dumps(payload, allow_nan=False, separators=(",", ":")).encode(), mtime=0)
    folder = files("mot_trl.traces")
    page, style, script = ((folder / f"page.{suffix}").read_text(encoding="utf-8") for suffix in ("html", "css", "js"))
    parts = {"style": style, "script": script}
    # The content security policy runs these two and nothing else, should markup slip through all the same.
    for name, text in list(parts.items()):
        digest = hashlib.sha256(text.encode()).digest()
        parts[f"{name}_hash"] = f"sha256-{base64.b64encode(digest).decode()}"
    # The payload last: base64 has no braces, so no placeholder is ever replaced inside of untrusted data.
    parts["payload"] = base64.b64encode(packed).decode()
    for name, part in parts.items():
        page = page.replace("{{" + name + "}}", part)
    return page


def to_payload(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The data for the page's script: each text once, numbers as small integers (weights in 1e-4, nats in 1e-3)."""
    # Texts map to their position of first use: the dict's keys, in order, are the list that the script looks up.
    vocabulary: dict[str, int] = {}
    prompts: dict[str, int] = {}
    completions = [_completion(index, row, vocabulary, prompts) for index, row in enumerate(rows)]
    widest = max((value for completion in completions for value in completion["effective"]), default=100)
    return {"vocabulary": list(vocabulary), "prompts": list(prompts), "most": widest / 100, "completions": completions}


def _completion(
    index: int, row: Mapping[str, Any], vocabulary: dict[str, int], prompts: dict[str, int]
) -> dict[str, Any]:
    # Candidates of all positions in one flat list, which `counts` cuts into positions: smaller than nested lists.
    names = ("counts", "candidates", "weights", "visible", "rest", "effective")
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for position, visible_id in enumerate(row["completion_ids"]):
        weights, texts = _merged_candidates(row, position)
        # At equal weight the visible token counts as the heaviest, else ties would be marked as disagreements.
        ranked = sorted(weights, key=lambda token_id: (-weights[token_id], token_id != visible_id))
        shown, rest = ranked[:MAX_CANDIDATES], ranked[MAX_CANDIDATES:]
        columns["counts"].append(len(shown))
        columns["candidates"].extend(vocabulary.setdefault(texts[token_id], len(vocabulary)) for token_id in shown)
        columns["weights"].extend(round(weights[token_id] * 10_000) for token_id in shown)
        columns["visible"].append(shown.index(visible_id) if visible_id in shown else -1)
        columns["rest"].append([len(rest), round(sum(weights[token_id] for token_id in rest) * 10_000)] if rest else 0)
        columns["effective"].append(round(100 / sum(w**2 for w in weights.values())) if weights else 100)
    phases = token_phases(row["thinking"], row["forced"], row.get("turns"))
    return {
        "index": index,
        **{name: row[name] for name in ("step", "split", "group", "sample", "closed_by", "truncated")},
        **{name: _finite(row[name]) for name in ("reward", "advantage")},
        "rewards": {reward["name"]: _finite(reward["value"]) for reward in row["rewards"]},
        "turns": max(row.get("turns") or [0], default=0) + 1,
        "prompt": prompts.setdefault(row["prompt"], len(prompts)),
        "tokens": [vocabulary.setdefault(text, len(vocabulary)) for text in row["tokens"]],
        # A letter per token: m mixed, or its phase's initial: waiting, thinking, forced, answering, result.
        "kinds": "".join("m" if mixed else phase[0] for phase, mixed in zip(phases, row["mixed"], strict=True)),
        "phases": [[phase["position"], phase["phase"], phase["cause"]] for phase in row["phases"]],
        **{name: [_finite(value, scale=1000) for value in row[name]] for name in ("logps", "entropies")},
        **columns,
    }


def _merged_candidates(row: Mapping[str, Any], position: int) -> tuple[dict[int, float], dict[int, str]]:
    """Weight and text of each token mixed at a position; a token that was drawn several times counts once."""
    weights: dict[int, float] = {}
    texts: dict[int, str] = {}
    drawn = (row[name][position] for name in ("candidate_ids", "candidate_tokens", "log_weights"))
    for token_id, text, log_weight in zip(*drawn, strict=True):
        if log_weight > LOG_ZERO_WEIGHT:
            weights[token_id] = weights.get(token_id, 0.0) + math.exp(log_weight)
            texts[token_id] = text
    return weights, texts


def _finite(value: float | None, *, scale: int | None = None) -> float | None:
    """The value, rounded in units of 1 / `scale` if given; None where it is missing or NaN, which JSON lacks."""
    if value is None or not math.isfinite(value):
        return None
    return value if scale is None else round(value * scale)
