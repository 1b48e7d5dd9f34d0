"""Record the mixtures of a run's completions (Parquet), and read them as tables, plots and an HTML page."""

from mot_trl.traces.page import write_page
from mot_trl.traces.replay import Replay, to_replay
from mot_trl.traces.storage import load_traces
from mot_trl.traces.token_selection import along_thinking, disagreements, over_training, pairs, positions

__all__ = [
    "Replay",
    "along_thinking",
    "disagreements",
    "load_traces",
    "over_training",
    "pairs",
    "positions",
    "to_replay",
    "write_page",
]
