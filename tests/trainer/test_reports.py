"""Metrics and traces say what was generated, and what the loss saw of it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_model, make_tokenizer
from datasets import Dataset
from test_grpo_trainer import logged, make_trainer

from mot_trl import MoTGRPOTrainer, Rollout
from mot_trl.traces import load_traces

LETTERS = list(range(60, 70))


def generated(trainer: MoTGRPOTrainer, rows: Dataset) -> tuple[dict[str, Any], dict[str, float]]:
    """A batch of completions of two prompts, and its metrics."""
    trainer.model.train()
    torch.manual_seed(0)
    batch = trainer._generate_and_score_completions([rows[0]] * 4 + [rows[1]] * 4)
    return batch, {name: values[-1] for name, values in trainer._metrics["train"].items()}


def model_with_ends(*token_ids: int) -> Any:
    """A model whose end tokens TRL cuts at, beyond the one that generation ends at."""
    model = make_model()
    model.generation_config.eos_token_id = [2, *token_ids]
    return model


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"mask_truncated_completions": True},
        {"mask_truncated_completions": True, "pad_to_multiple_of": 16},
        {"generation_kwargs": {"eos_token_id": 2}},
        {"generation_kwargs": {"eos_token_id": 2}, "pad_to_multiple_of": 16, "mask_truncated_completions": True},
    ],
    ids=str,
)
def test_shares_are_of_what_was_generated(settings: dict[str, Any], tmp_path: Path, prompts: Dataset) -> None:
    trainer = make_trainer(tmp_path, prompts, model=model_with_ends(*LETTERS), trace_steps=1, **settings)

    batch, metrics = generated(trainer, prompts)

    rollout, is_masked = Rollout.from_batch(batch), (batch["completion_mask"] == 0).all(dim=1)
    assert is_masked.any() == ("mask_truncated_completions" in settings)
    assert metrics["completions/mean_length"] == rollout.lengths.float().mean()
    assert metrics["mixture/mean_thinking_length"] == rollout.lengths.float().mean()
    assert metrics["mixture/share"] == pytest.approx((rollout.mixture_mask.sum() / rollout.lengths.sum()).item())
    assert 0.5 < metrics["mixture/share"] <= 1
    trainer._traces.on_train_end()
    traces = load_traces(tmp_path).to_pylist()
    assert [len(row["completion_ids"]) for row in traces] == rollout.lengths.tolist()
    is_cut = [row["completion_ids"][-1] not in [2, *LETTERS] for row in traces]
    assert [row["truncated"] for row in traces] == is_cut
    assert sum(is_cut) == pytest.approx(metrics["completions/clipped_ratio"] * len(traces))
    assert 0 < sum(is_cut) < len(traces)


def test_a_closing_tag_counts_where_it_is_whole(tmp_path: Path, prompts: Dataset) -> None:
    (last,) = make_tokenizer().encode(">")
    (inner,) = make_tokenizer().encode("k")
    settings = {"max_completion_length": 13, "generation_kwargs": {"eos_token_id": 2, "suppress_tokens": [2, inner]}}

    def closed_ratio(tokens: int, *ends: int) -> float:
        model = model_with_ends(*ends)
        # Every step is cold, so the tag is forced after `tokens` of them; a budget so late would be refused.
        rule = {"cold_stop_threshold": 100.0, "cold_stop_patience": tokens}
        trainer = make_trainer(tmp_path, prompts, model=model, trace_steps=0, **rule, **settings)
        return generated(trainer, prompts)[1]["mixture/closed_ratio"]

    # The tag has eight tokens: the completion's end, or an end token of TRL's within the tag, cuts it.
    assert closed_ratio(5) == 1
    assert closed_ratio(6) == 0
    assert closed_ratio(5, inner) == 0
    assert closed_ratio(5, last) == 1


def test_the_gap_is_what_the_loss_sees(tmp_path: Path, prompts: Dataset) -> None:
    settings = {"num_iterations": 2, "max_steps": 4, "trace_steps": 0, "gradient_checkpointing": False}
    settings |= {"gradient_accumulation_steps": 1, "max_completion_length": 6}
    faithful = make_trainer(tmp_path, prompts, **settings)
    dropping = make_trainer(tmp_path, prompts, model=make_model(attention_dropout=0.2), **settings)
    # As if generation had drawn from something else, unnoticed.
    drifted = make_trainer(tmp_path, prompts, **settings)
    generate = drifted._generate_and_score_completions
    drifted._generate_and_score_completions = lambda rows: shift(generate(rows))

    for trainer in (faithful, dropping, drifted):
        trainer.train()

    assert max(logged(faithful, "mixture/log_prob_gap")) < 1e-5
    assert min(logged(dropping, "mixture/log_prob_gap")) > 1e-3
    assert logged(drifted, "mixture/log_prob_gap") == pytest.approx([0.25] * 2, abs=1e-4)
    # A second pass sees a policy that has moved: how far is no gap.
    steps = [entry["step"] for entry in faithful.state.log_history if "mixture/log_prob_gap" in entry]
    assert steps == [1, 3]


def shift(batch: dict[str, Any]) -> dict[str, Any]:
    logps = batch["rollout_logps"] + 0.25
    return {**batch, "rollout_logps": logps, "old_per_token_logps": logps}
