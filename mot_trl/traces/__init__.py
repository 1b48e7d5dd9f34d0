"""What was mixed, step by step: written to Parquet while training, read as tables, plots and an HTML page."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mot_trl.traces.page import write_page
    from mot_trl.traces.replay import Replay, to_replay
    from mot_trl.traces.storage import load_traces
    from mot_trl.traces.token_selection import along_thinking, disagreements, over_training, pairs, positions

# Loaded when first asked for: training needs neither the page nor pandas.
_HOMES = {
    "Replay": "replay",
    "along_thinking": "token_selection",
    "disagreements": "token_selection",
    "load_traces": "storage",
    "over_training": "token_selection",
    "pairs": "token_selection",
    "positions": "token_selection",
    "to_replay": "replay",
    "write_page": "page",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
