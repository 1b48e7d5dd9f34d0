"""The columns of a trace file, and their version."""

import pyarrow as pa

VERSION = 1
"""Goes up when a column changes its meaning or is removed, not when one is added."""

METADATA_KEY = b"mot_trl.trace"
"""Key of the JSON object in the file's metadata: `version`, `strategy`, `mixture_score`, `temperature` ..."""

LOG_ZERO_WEIGHT = -200.0
"""Log-weight of a candidate that the model was not fed: `mot_trl.strategies.mixture`'s, without importing torch."""

_PHASE = pa.struct([("position", pa.int32()), ("phase", pa.string()), ("cause", pa.string())])
_REWARD = pa.struct([("name", pa.string()), ("value", pa.float64())])

# One row per completion; most lists have one entry per token. docs/traces.md explains each column.
SCHEMA = pa.schema(
    [
        # Which completion: `sample` counts within a step, over all processes.
        ("version", pa.int32()),
        ("step", pa.int32()),
        ("split", pa.string()),
        ("group", pa.int32()),
        ("sample", pa.int32()),
        # Its text, as the model, the stop rules and the rewards see it.
        ("prompt", pa.string()),
        ("prompt_ids", pa.list_(pa.int32())),
        ("completion", pa.string()),
        ("completion_ids", pa.list_(pa.int32())),
        ("tokens", pa.list_(pa.string())),
        # What was mixed at each token, and whether the strategy drew it at all.
        ("candidate_ids", pa.list_(pa.list_(pa.int32()))),
        ("candidate_tokens", pa.list_(pa.list_(pa.string()))),
        ("log_weights", pa.list_(pa.list_(pa.float32()))),
        ("thinking", pa.list_(pa.bool_())),
        ("mixed", pa.list_(pa.bool_())),
        ("forced", pa.list_(pa.bool_())),
        # Turn of the conversation, -1 for results of tools; null for completions of a single turn.
        ("turns", pa.list_(pa.int32())),
        # In nats, of the draw and of the distribution that it was drawn from.
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
