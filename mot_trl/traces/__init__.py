"""Record the mixtures of a run's completions (Parquet), and read them as tables, plots and an HTML page."""

from typing import TYPE_CHECKING, Any

from mot_trl.traces.page import write_page
from mot_trl.traces.storage import load_traces
from mot_trl.traces.token_selection import along_thinking, disagreements, over_training, pairs, positions

if TYPE_CHECKING:
    from mot_trl.traces.replay import Replay, to_replay

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


def __getattr__(name: str) -> Any:
    # Replaying needs torch. All else here does not, and starts in a fraction of a second without it.
    if name not in ("Replay", "to_replay"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mot_trl.traces import replay

    return getattr(replay, name)
