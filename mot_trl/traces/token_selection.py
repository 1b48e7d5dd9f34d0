"""Which tokens are mixed with which, how widely, and how that changes: tables out of traces."""

import numpy as np
import pandas as pd
import pyarrow as pa

MIN_WEIGHT = 0.01
"""A candidate of less weight is not counted as mixed with another."""


POSITION_COLUMNS = (
    "step",
    "split",
    "completion",
    "position",
    "share",
    "candidates",
    "effective",
    "mixture_entropy",
    "entropy",
    "visible_id",
    "visible",
    "visible_weight",
    "heaviest_id",
    "heaviest",
    "heaviest_weight",
)


def candidates(traces: pa.Table) -> pd.DataFrame:
    """One row a candidate with weight of a drawn position: `completion`, `position`, `token`, `weight`."""
    by_position = traces["candidate_ids"].combine_chunks()
    lengths = by_position.value_lengths().to_numpy(zero_copy_only=False)
    flat_ids, flat_tokens, flat_weights = (
        traces[name].combine_chunks().flatten() for name in ("candidate_ids", "candidate_tokens", "log_weights")
    )
    slots = flat_ids.value_lengths().to_numpy(zero_copy_only=False)
    completion = np.repeat(np.arange(len(lengths)), lengths)
    position = _counting(lengths)
    frame = pd.DataFrame(
        {
            "completion": np.repeat(completion, slots),
            "position": np.repeat(position, slots),
            "token_id": flat_ids.flatten().to_numpy(zero_copy_only=False),
            "token": flat_tokens.flatten().to_pandas(),
            "weight": np.exp(flat_weights.flatten().to_numpy(zero_copy_only=False).astype(np.float64)),
        }
    )
    # Weights that underflow were candidates of the draw, but the model never saw them.
    return frame[frame["weight"] > 0].reset_index(drop=True)


def positions(traces: pa.Table) -> pd.DataFrame:
    """One row a drawn position, with what was mixed there.

    Columns: `step`, `split`, `completion` (row of the table), `position`, `share` of the way through the thinking (0
    to 1), `effective` candidates (1 / sum w^2), `mixture_entropy` of the weights and `entropy` of the distribution
    they were drawn from (nats), `visible` and `heaviest` token with their weights.
    """
    found = candidates(traces)
    if found.empty:
        texts = ("split", "visible", "heaviest")
        return pd.DataFrame({name: pd.Series(dtype=object if name in texts else float) for name in POSITION_COLUMNS})
    keys = ["completion", "position"]
    terms = found.assign(square=found["weight"] ** 2, entropy=-found["weight"] * np.log(found["weight"]), candidates=1)
    drawn = terms.groupby(keys)[["square", "entropy", "candidates"]].sum()
    heaviest = found.loc[found.groupby(keys)["weight"].idxmax()].set_index(keys)
    lengths = traces["tokens"].combine_chunks().value_lengths().to_numpy(zero_copy_only=False)
    visible = pd.DataFrame(
        {
            "completion": np.repeat(np.arange(len(lengths)), lengths),
            "position": _counting(lengths),
            "visible_id": traces["completion_ids"].combine_chunks().flatten().to_numpy(zero_copy_only=False),
            "visible": traces["tokens"].combine_chunks().flatten().to_pandas(),
            "entropy": traces["entropies"].combine_chunks().flatten().to_numpy(zero_copy_only=False),
        }
    ).set_index(keys)
    table = visible.join(drawn[["candidates"]], how="inner")
    table["effective"] = 1 / drawn["square"]
    table["mixture_entropy"] = drawn["entropy"]
    table["heaviest_id"], table["heaviest"] = heaviest["token_id"], heaviest["token"]
    table["heaviest_weight"] = heaviest["weight"]
    weights = found.set_index([*keys, "token_id"])["weight"].groupby(level=[0, 1, 2]).sum()
    index = pd.MultiIndex.from_arrays(
        [table.index.get_level_values(0), table.index.get_level_values(1), table["visible_id"]]
    )
    table["visible_weight"] = weights.reindex(index).fillna(0.0).to_numpy()
    table = table.reset_index()
    order = table.groupby("completion").cumcount()
    last = table.groupby("completion")["position"].transform("size") - 1
    table["share"] = order / last.clip(lower=1)
    of_row = traces.select(["step", "split"]).to_pandas()
    table["step"] = of_row["step"].to_numpy()[table["completion"]]
    table["split"] = of_row["split"].to_numpy()[table["completion"]]
    return table[[*POSITION_COLUMNS]]


def pairs(traces: pa.Table, *, top: int = 50, min_weight: float = MIN_WEIGHT) -> pd.DataFrame:
    """The tokens most often mixed with each other.

    Columns: `token`, `other`, `count` of positions with both, `share` of all mixed positions, and each one's mean
    weight there.
    """
    found = candidates(traces)
    found = found[found["weight"] >= min_weight]
    keys = ["completion", "position"]
    found = found.groupby([*keys, "token_id"], as_index=False).agg(token=("token", "first"), weight=("weight", "sum"))
    both = found.merge(found, on=keys, suffixes=("", "_other"))
    both = both[both["token_id"] < both["token_id_other"]]
    mixed = both.groupby(keys).ngroups
    table = (
        both.groupby(["token_id", "token_id_other"])
        .agg(
            token=("token", "first"),
            other=("token_other", "first"),
            count=("weight", "size"),
            weight=("weight", "mean"),
            other_weight=("weight_other", "mean"),
        )
        .sort_values("count", ascending=False, kind="stable")
        .head(top)
        .reset_index(drop=True)
    )
    table.insert(3, "share", table["count"] / max(mixed, 1))
    return table


def along_thinking(traces: pa.Table, *, bins: int = 20) -> pd.DataFrame:
    """How widely tokens are mixed from the beginning of the thinking (0) to its end (1).

    Columns: `share` (middle of the bin), `draws`, `effective` (mean), its quartiles `low` and `high`, and the mean
    `mixture_entropy` and `entropy` (nats).
    """
    table = positions(traces)
    table["bin"] = (table["share"].astype(float) * bins).clip(upper=bins - 1).astype(int)
    grouped = table.groupby("bin")
    effective = grouped["effective"]
    return pd.DataFrame(
        {
            "draws": effective.size(),
            "effective": effective.mean(),
            "low": effective.quantile(0.25),
            "high": effective.quantile(0.75),
            "mixture_entropy": grouped["mixture_entropy"].mean(),
            "entropy": grouped["entropy"].mean(),
        }
    ).assign(share=lambda binned: (binned.index + 0.5) / bins)[
        ["share", "draws", "effective", "low", "high", "mixture_entropy", "entropy"]
    ]


def disagreements(traces: pa.Table, *, top: int = 50) -> pd.DataFrame:
    """Where the token that the text shows is not the heaviest of its mixture, most frequent first.

    Columns: `visible`, `heaviest`, `count`, `share` of all drawn positions, and each one's mean weight there.
    """
    table = positions(traces)
    differing = table[table["visible_weight"] < table["heaviest_weight"]]
    counted = (
        differing.groupby(["visible_id", "heaviest_id"])
        .agg(
            visible=("visible", "first"),
            heaviest=("heaviest", "first"),
            count=("visible", "size"),
            visible_weight=("visible_weight", "mean"),
            heaviest_weight=("heaviest_weight", "mean"),
        )
        .sort_values("count", ascending=False, kind="stable")
        .head(top)
        .reset_index(drop=True)
    )
    counted.insert(3, "share", counted["count"] / max(len(table), 1))
    return counted


def over_training(traces: pa.Table) -> pd.DataFrame:
    """How mixtures change over training, one row a split and step.

    Columns: `completions`, `reward`, `thinking_length` (tokens), `closed` (share whose thinking ended), `mixed`
    (share of drawn positions with more than one candidate), `effective` candidates, `mixture_entropy` and `entropy`
    (nats), and `disagreement` (share of drawn positions whose visible token is not the heaviest).
    """
    rows = traces.select(["step", "split", "reward", "closed_by"]).to_pandas()
    rows["thinking_length"] = [sum(thinking) for thinking in traces["thinking"].to_pylist()]
    rows["closed"] = rows["closed_by"].notna()
    keys = ["split", "step"]
    by_row = rows.groupby(keys).agg(
        completions=("closed", "size"),
        reward=("reward", "mean"),
        thinking_length=("thinking_length", "mean"),
        closed=("closed", "mean"),
    )
    table = positions(traces)
    table["mixed"] = table["heaviest_weight"] < 1
    table["disagreement"] = table["visible_weight"] < table["heaviest_weight"]
    names = ["mixed", "effective", "mixture_entropy", "entropy", "disagreement"]
    return by_row.join(table.groupby(keys)[names].mean()).reset_index()


def _counting(lengths: np.ndarray) -> np.ndarray:
    """0, 1, ... up to each length, one after the other."""
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.arange(int(lengths.sum())) - starts
