"""A `rollout_func` of the user's: with a record it trains mixtures, without one plain tokens, and says so."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_model
from datasets import Dataset
from test_grpo_trainer import letters, logged, settings
from test_tool_turns import check_replay, make_trainer, rollouts, scored
from tool_callers import tool_tokenizer
from trl import GRPOConfig, GRPOTrainer

from mot_trl import Conversations, MoTGRPOTrainer, generate
from mot_trl.modeling.conversation import ROLLOUT

pytestmark = pytest.mark.filterwarnings("ignore:You are using 'rollout_func':UserWarning")  # TRL calls it experimental


def talk(prompts: Any, trainer: MoTGRPOTrainer, *, turns: int = 3) -> dict[str, Any]:
    """Answer each turn of half of the conversations, one fewer each time, with two tokens."""
    tokenizer: Any = trainer.processing_class
    ids = tokenizer.apply_chat_template(prompts, add_generation_prompt=True, return_dict=False)
    talks = Conversations(ids)
    for turn in range(turns):
        rows = list(range(turn, len(prompts)))
        given = {"decoder": trainer.decoder, "temperature": trainer.temperature, "max_new_tokens": 16}
        said = generate(
            trainer.model, tokenizer, talks.prompts(rows), history=talks.history(rows), batch_size=3, **given
        )
        talks.add_turn(said.completion_ids, said.rollout, rows)
        for row in rows[1:]:
            talks.add_tokens(row, [60, 61])
    return talks.outputs()


def trainer_with(function: Any, folder: Path, prompts: Dataset, **given: Any) -> MoTGRPOTrainer:
    return make_trainer(folder, prompts, tools=None, rollout_func=function, max_mixture_tokens=5, **given)


@pytest.mark.slow
@pytest.mark.parametrize("given", [{}, {"beta": 0.1, "num_iterations": 2}], ids=str)
def test_a_record_is_replayed(given: dict[str, Any], tmp_path: Path, prompts: Dataset) -> None:
    make_model(max_position_embeddings=1024).save_pretrained(tmp_path / "model")
    trainer = trainer_with(talk, tmp_path, prompts, model=str(tmp_path / "model"), **given)

    batch = rollouts(trainer, prompts)

    turns = batch["rollout_turns"]
    assert turns.amax(dim=1).tolist() == [0, 1, 2, 2, 2, 2, 2, 2]
    assert torch.equal(scored(batch), (turns >= 0) & ~batch["rollout_forced_mask"])
    check_replay(trainer, batch)
    if given:
        assert torch.allclose(
            batch["old_per_token_logps"][scored(batch)], batch["rollout_logps"][scored(batch)], atol=1e-5
        )
        assert (batch["rollout_probe_ids"] > 0).any()


@pytest.mark.slow
def test_a_record_trains(tmp_path: Path, prompts: Dataset) -> None:
    trainer = trainer_with(talk, tmp_path, prompts)

    trainer.train()

    assert logged(trainer, "grad_norm")[0] > 0
    assert logged(trainer, "mixture/share")[0] > 0.2
    assert logged(trainer, "mixture/log_prob_gap")[0] < 1e-5


def plain_text(prompts: Any, trainer: Any) -> dict[str, Any]:
    """Completions of the user's own making."""
    ids = trainer.processing_class.apply_chat_template(prompts, add_generation_prompt=True, return_dict=False)
    texts = [[90 + row, 60, 70 + row % 3, 2][: 3 + row % 2] for row in range(len(prompts))]
    masks = [[1, 0, *[1] * (len(text) - 2)] for text in texts]
    return {"prompt_ids": ids, "completion_ids": texts, "logprobs": None, "env_mask": masks}


@pytest.mark.slow
def test_without_a_record_it_is_plain_grpo(tmp_path: Path, prompts: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    plain = GRPOTrainer(
        make_model(max_position_embeddings=1024),
        letters,
        GRPOConfig(**settings(tmp_path, num_iterations=2)),
        train_dataset=prompts,
        processing_class=tool_tokenizer(),
        rollout_func=plain_text,
    )
    plain.train()
    model = make_model(max_position_embeddings=1024)
    trainer = make_trainer(
        tmp_path, prompts, model=model, tools=None, rollout_func=plain_text, num_iterations=2, max_completion_length=12
    )

    trainer.train()

    for name in ("loss", "grad_norm", "entropy", "reward"):
        assert logged(trainer, name) == pytest.approx(logged(plain, name), abs=1e-6, rel=1e-4), name
    assert set(logged(trainer, "mixture/share")) == {0.0}
    assert all(map(math.isfinite, logged(trainer, "mixture/log_prob_gap")))
    assert caplog.text.count("trained as plain tokens") <= 1


def test_without_a_record_there_is_a_warning(
    tmp_path: Path, prompts: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: list[str] = []
    monkeypatch.setattr("mot_trl.trainer.rollout_func.logger.warning_once", warned.append)
    trainer = trainer_with(plain_text, tmp_path, prompts)

    rollouts(trainer, prompts)

    assert len(warned) == 1
    assert "returns no record of mixtures under the key 'rollout'" in warned[0]


def shuffled(output: dict[str, Any]) -> dict[str, Any]:
    return {**output, "completion_ids": output["completion_ids"][1:] + output["completion_ids"][:1]}


BROKEN = {
    "rows that have moved": (shuffled, ValueError, "is none of the candidates in the record"),
    "a row fewer": (lambda out: {**out, ROLLOUT: out[ROLLOUT].rows(0, 7)}, ValueError, "7 rows"),
    "a record cut short": (lambda out: {**out, ROLLOUT: out[ROLLOUT].resize(2)}, ValueError, "of 2 tokens"),
    "no record at all": (lambda out: {**out, ROLLOUT: [1]}, TypeError, "returns a list as 'rollout'"),
    "no probes": (
        lambda out: {**out, ROLLOUT: replace(out[ROLLOUT], probe_ids=None, probe_logps=None)},
        ValueError,
        "has no probes",
    ),
    "no completions": (lambda out: {"prompt_ids": out["prompt_ids"], "logprobs": None}, ValueError, "completion_ids"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", BROKEN)
def test_a_record_that_does_not_fit_is_refused(case: str, tmp_path: Path, prompts: Dataset) -> None:
    breaks, error, message = BROKEN[case]
    make_model(max_position_embeddings=1024).save_pretrained(tmp_path / "model")
    function = lambda prompts, trainer: breaks(talk(prompts, trainer, turns=1))  # noqa: E731
    trainer = trainer_with(function, tmp_path, prompts, model=str(tmp_path / "model"), beta=0.1)

    with pytest.raises(error, match=message):
        rollouts(trainer, prompts)


@pytest.mark.slow
def test_thoughts_that_the_users_template_drops_are_not_replayed(tmp_path: Path, prompts: Dataset) -> None:
    close = []

    def rewriting(prompts: Any, trainer: MoTGRPOTrainer) -> dict[str, Any]:
        """Two turns, the first of which is without its thought when the second is written."""
        tokenizer: Any = trainer.processing_class
        ids = tokenizer.apply_chat_template(prompts, add_generation_prompt=True, return_dict=False)
        talks, given = Conversations(ids), {"decoder": trainer.decoder, "temperature": trainer.temperature}
        tag = list(trainer.decoder.phases.closing_ids)
        for turn in range(2):
            said = generate(
                trainer.model, tokenizer, talks.prompts(), history=talks.history(), max_new_tokens=20, **given
            )
            talks.add_turn(said.completion_ids, said.rollout)
            for row, text in enumerate(list(talks.completion_ids)):
                if turn == 0 and len(text) > 5 + len(tag):
                    assert text[5 : 5 + len(tag)] == tag
                    talks.rewrite(row, talks.prompt_ids[row] + text[5 + len(tag) :] + [60])
                    close.append(row)
        return talks.outputs()

    trainer = trainer_with(rewriting, tmp_path, prompts)
    batch = rollouts(trainer, prompts)

    assert close
    turns, thinking = batch["rollout_turns"], batch["rollout_thinking_mask"]
    for row in close:
        assert turns[row].max() == 0
        assert thinking[row].sum() <= 5
    check_replay(trainer, batch)
