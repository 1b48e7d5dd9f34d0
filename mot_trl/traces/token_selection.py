"""Tables made from traces: which tokens are mixed with which, how widely, and how that changes over training."""

import numpy as np
import pandas as pd
import pyarrow as pa

from mot_trl.traces.schema import LOG_ZERO_WEIGHT

MIN_WEIGHT = 0.01
"""Below this weight a candidate does not count as mixed with another."""


def positions(traces: pa.Table) -> pd.DataFrame:
    """One row per drawn position.

    Columns: `step`, `split`, `completion` (row in `traces`), `position`, `share` of the way through the thinking (0
    to 1), number of `candidates`, `effective` candidates (1 / sum w^2), `mixture_entropy` of the weights and `entropy`
    of the distribution that they were drawn from (nats), and id, text and weight of the `visible` and the `heaviest`
    token.
    """
    tokens = _explode(traces, visible_id="completion_ids", visible="tokens", entropy="entropies").to_pandas()
    tokens = tokens.rename(columns={"parent": "completion"})
    tokens["position"] = tokens.groupby("completion").cumcount()
    candidates = _candidates(traces)
    weight, at = candidates["weight"], candidates["at"]
    is_visible = candidates["token_id"].to_numpy() == tokens.loc[at, "visible_id"].to_numpy()
    terms = {
        "candidates": 1,
        "square": weight**2,
        "mixture_entropy": -weight * np.log(weight),
        # Zero if the visible token has no weight, a sum if it was drawn more than once.
        "visible_weight": weight.where(is_visible, 0.0),
    }
    sums = pd.DataFrame(terms, index=candidates.index).groupby(at).sum()
    heaviest = candidates.loc[candidates.groupby("at")["weight"].idxmax()].set_index("at")
    heaviest.columns = ["heaviest_id", "heaviest", "heaviest_weight"]
    # Inner joins: tokens outside the thinking have no candidates, and drop out here.
    table = tokens.join([sums, heaviest], how="inner").reset_index(drop=True)
    table["effective"] = 1 / table["square"]
    in_completion = table.groupby("completion")["position"]
    table["share"] = in_completion.cumcount() / (in_completion.transform("size") - 1).clip(lower=1)
    table = table.join(traces.select(["step", "split"]).to_pandas(), on="completion")
    return table[
        [
            *("step", "split", "completion", "position", "share", "candidates", "effective"),
            *("mixture_entropy", "entropy", "visible_id", "visible", "visible_weight"),
            *("heaviest_id", "heaviest", "heaviest_weight"),
        ]
    ]


def _candidates(traces: pa.Table) -> pd.DataFrame:
    """One row per candidate that the model was fed: `at` (which of all tokens), `token_id`, `token`, `weight`."""
    names = {"token_id": "candidate_ids", "token": "candidate_tokens", "weight": "log_weights"}
    per_position = _explode(traces, **names)
    table = _explode(per_position, **{name: name for name in names}).to_pandas().rename(columns={"parent": "at"})
    table = table[table["weight"] > LOG_ZERO_WEIGHT]
    return table.assign(weight=np.exp(table["weight"].astype(np.float64))).reset_index(drop=True)


def _explode(table: pa.Table, **columns: str) -> pa.Table:
    """One row per entry of list columns, each under a new name, with the number of the row that it is from."""
    lists = {name: table[column].combine_chunks() for name, column in columns.items()}
    parents = next(iter(lists.values())).value_parent_indices()
    return pa.table({"parent": parents, **{name: values.flatten() for name, values in lists.items()}})


def pairs(traces: pa.Table, *, top: int = 50, min_weight: float = MIN_WEIGHT) -> pd.DataFrame:
    """The tokens most often mixed with each other.

    Columns: `token`, `other`, `count` of positions with both, `share` of all positions with a pair, and the mean
    `weight` and `other_weight` there.
    """
    found = _candidates(traces)
    # A token drawn more than once at a position is one candidate, or it would pair with others several times.
    by_token = found[found["weight"] >= min_weight].groupby(["at", "token_id"], as_index=False)
    found = by_token.agg(token=("token", "first"), weight=("weight", "sum"))
    others = found.rename(columns={"token_id": "other_id", "token": "other", "weight": "other_weight"})
    both = found.merge(others, on="at")
    both = both[both["token_id"] < both["other_id"]]
    return _most_frequent(both, ["token", "other"], ["weight", "other_weight"], top=top, total=both["at"].nunique())


def disagreements(traces: pa.Table, *, top: int = 50) -> pd.DataFrame:
    """Where the visible token is not the heaviest of its mixture, most frequent pair of tokens first.

    Columns: `visible`, `heaviest`, `count`, `share` of all drawn positions, and the mean `visible_weight` and
    `heaviest_weight`.
    """
    table = positions(traces)
    differing = table[table["visible_weight"] < table["heaviest_weight"]]
    weights = ["visible_weight", "heaviest_weight"]
    return _most_frequent(differing, ["visible", "heaviest"], weights, top=top, total=len(table))


def _most_frequent(table: pd.DataFrame, texts: list[str], weights: list[str], *, top: int, total: int) -> pd.DataFrame:
    """The `top` most frequent pairs of `texts`: `count`, its `share` of `total`, and the mean `weights`."""
    # Grouped by ids, since different tokens can have the same text.
    grouped = table.groupby([f"{text}_id" for text in texts])
    counted = grouped[texts].first().assign(count=grouped.size())
    counted = counted.assign(share=counted["count"] / max(total, 1)).join(grouped[weights].mean())
    return counted.sort_values("count", ascending=False, kind="stable").head(top).reset_index(drop=True)


def along_thinking(traces: pa.Table, *, bins: int = 20) -> pd.DataFrame:
    """How widely tokens are mixed from the beginning of the thinking (0) to its end (1).

    Columns: `share` (middle of the bin), `draws`, `effective` (mean), its quartiles `low` and `high`, and the mean
    `mixture_entropy` and `entropy` (nats).
    """
    table = positions(traces)
    table["bin"] = (table["share"] * bins).clip(upper=bins - 1).astype(int)
    grouped = table.groupby("bin")
    means, effective = grouped[["effective", "mixture_entropy", "entropy"]].mean(), grouped["effective"]
    quartiles = {"low": effective.quantile(0.25), "high": effective.quantile(0.75)}
    binned = means.assign(share=(means.index + 0.5) / bins, draws=grouped.size(), **quartiles)
    return binned[["share", "draws", "effective", "low", "high", "mixture_entropy", "entropy"]]


def over_training(traces: pa.Table) -> pd.DataFrame:
    """How mixtures change over training, one row per split and step.

    Columns: `completions`, `reward`, `thinking_length` (tokens), `closed` (share whose thinking ended), `mixed`
    (share of drawn positions with more than one candidate), `effective` candidates, `mixture_entropy` and `entropy`
    (nats), and `disagreement` (share of drawn positions whose visible token is not the heaviest).
    """
    rows = traces.select(["step", "split", "reward", "closed_by"]).to_pandas()
    rows["thinking_length"] = [sum(thinking) for thinking in traces["thinking"].to_pylist()]
    rows["closed"] = rows["closed_by"].notna()
    keys = ["split", "step"]
    by_row = rows.groupby(keys)[["reward", "thinking_length", "closed"]].mean()
    by_row.insert(0, "completions", rows.groupby(keys).size())
    table = positions(traces)
    table["mixed"] = table["heaviest_weight"] < 1
    table["disagreement"] = table["visible_weight"] < table["heaviest_weight"]
    names = ["mixed", "effective", "mixture_entropy", "entropy", "disagreement"]
    # A left join, so that completions without any thinking stay in the table.
    return by_row.join(table.groupby(keys)[names].mean()).reset_index()
