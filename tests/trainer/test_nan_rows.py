"""A row that the model gives no numbers for does not take the batch with it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_model, make_tokenizer
from datasets import Dataset
from test_grpo_trainer import logged, make_trainer
from transformers import TrainerCallback

from mot_trl import Rollout, generate
from mot_trl.generation import decoding_loop as decoding
from mot_trl.strategies import STRATEGIES
from mot_trl.trainer.nan_rows import drop_non_finite

POISON = "~"


def poisoned_model(value: float = torch.nan, **settings: Any) -> Any:
    """A model that breaks down in the rows whose prompt holds the poison, and never writes it."""
    model = make_model(tie_word_embeddings=False, **settings)
    poison_id = make_tokenizer().encode(POISON, add_special_tokens=False)[0]
    with torch.no_grad():
        model.get_input_embeddings().weight[poison_id] = value
    model.generation_config.suppress_tokens = [poison_id]
    return model


def chats(*texts: str) -> Dataset:
    return Dataset.from_dict({"prompt": [[{"role": "user", "content": text}] for text in texts]})


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_the_other_rows_go_on_under_every_strategy(strategy: str, value: float) -> None:
    prompts = ["Count.", f"Count{POISON}.", "Count!"]

    generation = generate(poisoned_model(value), make_tokenizer(), prompts, strategy=strategy, max_new_tokens=6)

    rollout = generation.rollout
    assert rollout.non_finite.tolist() == [False, True, False]
    assert generation.texts[1] == ""
    assert not rollout.thinking_mask[1].any()
    assert not rollout.mixture_mask[1].any()
    assert rollout.thinking_mask[0, 0]
    assert rollout.logps.isfinite().all()
    assert not rollout.log_weights.isnan().any()


@pytest.mark.parametrize("do_sample", [True, False])
def test_a_row_ends_where_its_logits_break_down(do_sample: bool) -> None:
    model, tokenizer = make_model(), make_tokenizer()
    calls = iter(range(100))

    def break_down(module: Any, inputs: Any, logits: torch.Tensor) -> torch.Tensor:
        # An infinity, a NaN, and nothing but minus infinities: each leaves nothing to draw from.
        if next(calls) == 3:
            logits[0, -1, 7], logits[1, -1, 200], logits[2, -1] = torch.inf, torch.nan, -torch.inf
        return logits

    model.lm_head.register_forward_hook(break_down)
    generation = generate(
        model, tokenizer, ["a", "b", "c", "d"], max_new_tokens=6, do_sample=do_sample, suppress_tokens=[2]
    )

    assert generation.rollout.non_finite.tolist() == [True, True, True, False]
    assert (generation.completion_ids[:3, 3] == tokenizer.eos_token_id).all()
    assert not (generation.completion_ids[:, :3] == tokenizer.eos_token_id).any()
    assert generation.rollout.thinking_mask[:, :3].all()
    assert generation.rollout.thinking_mask[3].all()
    assert not generation.rollout.thinking_mask[:3, 3:].any()


def test_it_ends_there_also_where_no_token_ends_completions() -> None:
    model, calls = make_model(), iter(range(100))
    model.generation_config.eos_token_id = None

    def break_down(module: Any, inputs: Any, logits: torch.Tensor) -> torch.Tensor:
        if next(calls) == 1:
            logits[0, -1] = torch.nan
        return logits

    model.lm_head.register_forward_hook(break_down)
    rollout = generate(model, make_tokenizer(), ["a", "b"], max_new_tokens=4).rollout

    assert rollout.thinking_mask.tolist() == [[True, False, False, False], [True] * 4]


def test_a_broken_row_is_blank_to_the_loss() -> None:
    rollout = Rollout.empty(3, 2, num_candidates=2, device="cpu")
    rollout.non_finite[1] = True
    rollout.thinking_mask[:] = True
    batch = {
        "prompt_ids": torch.full((3, 4), 9),
        "prompt_mask": torch.ones(3, 4, dtype=torch.long),
        "completion_ids": torch.full((3, 2), 9),
        "completion_mask": torch.ones(3, 2, dtype=torch.long),
        "advantages": torch.tensor([1.0, torch.nan, 1.0]),
        "ref_per_token_logps": torch.full((3, 2), torch.nan),
    }

    dropped, record = drop_non_finite(batch, rollout, pad_token_id=0)

    assert dropped["prompt_mask"].tolist() == [[1, 1, 1, 1], [0, 0, 0, 1], [1, 1, 1, 1]]
    assert dropped["prompt_ids"][1].tolist() == [0, 0, 0, 0]
    assert dropped["completion_mask"].tolist() == [[1, 1], [0, 0], [1, 1]]
    assert dropped["advantages"].tolist() == [1.0, 0.0, 1.0]
    assert dropped["ref_per_token_logps"].isnan().all(dim=1).tolist() == [True, False, True]
    assert record.thinking_mask.tolist() == [[True, True], [False, False], [True, True]]
    assert record.non_finite.tolist() == [False, True, False]
    assert batch["prompt_mask"].all()
    images, _ = drop_non_finite({**batch, "pixel_values": torch.zeros(3)}, rollout, pad_token_id=0)
    assert images["prompt_mask"].all()


@pytest.mark.parametrize(
    "overrides",
    [{}, {"num_iterations": 2}, {"max_mixture_tokens": 3}, {"normal": True}],
    ids=["plain", "old log-probs", "forced tokens", "reference"],
)
def test_training_goes_on_without_the_row(overrides: dict[str, Any], tmp_path: Path) -> None:
    model = poisoned_model()
    if overrides.pop("normal", False):
        model.save_pretrained(tmp_path / "model")
        model, overrides = str(tmp_path / "model"), {"beta": 0.1}
    gradients: list[torch.Tensor] = []

    class Watch(TrainerCallback):
        def on_pre_optimizer_step(self, *args: Any, model: Any, **kwargs: Any) -> None:
            gradients.extend(parameter.grad for parameter in model.parameters())

    trainer = make_trainer(
        tmp_path, chats("Count.", f"Count{POISON}."), model=model, log_completions=True, **overrides
    )
    trainer.add_callback(Watch())
    trainer.train()

    assert logged(trainer, "mixture/broken_rows")[0] == 4
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert all(map(torch.isfinite, map(torch.tensor, logged(trainer, "loss"))))
    assert logged(trainer, "grad_norm")[0] > 0


def test_the_loss_is_that_of_the_other_rows(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, chats("Count.", f"Count{POISON}."), model=poisoned_model(), max_steps=1)
    compute_loss, pairs = trainer._compute_loss, []

    def watched(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        healthy = ~inputs["rollout_non_finite"]
        if healthy.any():
            others = {name: value[healthy] if value.dim() else value for name, value in inputs.items()}
            assert others["completion_mask"].sum() > 0
            pairs.append((compute_loss(model, inputs).item(), compute_loss(model, others).item()))
        return compute_loss(model, inputs)

    trainer._compute_loss = watched
    trainer.train()

    assert pairs
    for whole, others in pairs:
        assert whole == pytest.approx(others, abs=1e-6)
        assert whole != 0


def test_rows_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    decoding.logger.warning_once.cache_clear()

    for _ in range(2):
        generate(poisoned_model(), make_tokenizer(), ["Count.", f"Count{POISON}."], max_new_tokens=2)

    assert caplog.text.count("NaN or infinite logits in some rows") == 1


def test_a_model_that_is_dead_is_an_error(tmp_path: Path) -> None:
    dead = make_model()
    with torch.no_grad():
        dead.get_input_embeddings().weight.fill_(torch.nan)

    with pytest.raises(RuntimeError, match=r"not finite\. Resume from the last checkpoint"):
        make_trainer(tmp_path, chats("Count.", "Count!"), model=dead).train()
