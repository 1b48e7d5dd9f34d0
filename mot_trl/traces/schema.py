"""The columns of a trace file, and the version they belong to."""

import pyarrow as pa

VERSION = 1
"""Raised when a column changes its meaning or goes away; a column that is merely added does not raise it."""

METADATA_KEY = b"mot_trl.trace"
"""Where the file's own metadata holds a JSON object: version, strategy, score, temperature, model."""

_PHASE = pa.struct([("position", pa.int32()), ("phase", pa.string()), ("cause", pa.string())])
_REWARD = pa.struct([("name", pa.string()), ("value", pa.float64())])

# One row a completion; most lists have one entry for each of its tokens. docs/traces.md explains each column.
SCHEMA = pa.schema(
    [
        ("version", pa.int32()),
        ("step", pa.int32()),
        ("split", pa.string()),
        ("group", pa.int32()),
        ("sample", pa.int32()),
        ("prompt", pa.string()),
        ("prompt_ids", pa.list_(pa.int32())),
        ("completion", pa.string()),
        ("completion_ids", pa.list_(pa.int32())),
        ("tokens", pa.list_(pa.string())),
        ("candidate_ids", pa.list_(pa.list_(pa.int32()))),
        ("candidate_tokens", pa.list_(pa.list_(pa.string()))),
        ("log_weights", pa.list_(pa.list_(pa.float32()))),
        ("thinking", pa.list_(pa.bool_())),
        ("mixed", pa.list_(pa.bool_())),
        ("forced", pa.list_(pa.bool_())),
        ("logps", pa.list_(pa.float32())),
        ("entropies", pa.list_(pa.float32())),
        ("phases", pa.list_(_PHASE)),
        ("closed_by", pa.string()),
        ("truncated", pa.bool_()),
        ("rewards", pa.list_(_REWARD)),
        ("reward", pa.float64()),
        ("advantage", pa.float64()),
    ]
)
