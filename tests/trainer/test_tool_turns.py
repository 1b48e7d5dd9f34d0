"""Completions with tools: every turn thinks, later turns read earlier thoughts as they were, and so does training."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_model
from datasets import Dataset
from test_grpo_trainer import letters, logged, settings, watch_gradients
from test_replay import replayed
from tool_callers import add, tool_tokenizer
from trl import GRPOConfig, GRPOTrainer

from mot_trl import STRATEGIES, Conversations, Mixture, MoTGRPOConfig, MoTGRPOTrainer, Rollout, Strategy
from mot_trl.strategies.top_k import TopK
from mot_trl.traces import load_traces, to_replay, write_page
from mot_trl.trainer.replay import RolloutScope
from mot_trl.trainer.tool_turns import RowIds

# Room for three turns and more, with the results of tools between them.
LONG: dict[str, Any] = {"max_completion_length": 130, "max_tool_calling_iterations": 3, "trace_steps": 0}


def talkative_model() -> Any:
    """A model whose turns end soon: its end token is likely."""
    model = make_model(max_position_embeddings=1024)
    model.get_output_embeddings().weight.data[2] *= 3
    return model


def make_trainer(
    folder: Path, prompts: Dataset, *, model: Any = None, tokenizer: Any = None, **given: Any
) -> MoTGRPOTrainer:
    names = ("tools", "environment_factory", "rollout_func", "reward_funcs")
    of_trainer = {name: given.pop(name) for name in names if name in given}
    if isinstance(given.get("strategy"), Strategy):
        of_trainer["strategy"] = given.pop("strategy")
    return MoTGRPOTrainer(
        talkative_model() if model is None else model,
        args=MoTGRPOConfig(**settings(folder, **{**LONG, **given})),
        train_dataset=prompts,
        processing_class=tool_tokenizer() if tokenizer is None else tokenizer,
        **{"reward_funcs": letters, "tools": [add], **of_trainer},
    )


def rollouts(trainer: MoTGRPOTrainer, prompts: Dataset, *, seed: int = 0) -> dict[str, Any]:
    torch.manual_seed(seed)
    return trainer._generate_and_score_completions([prompts[0]] * 4 + [prompts[1]] * 4)


def scored(batch: dict[str, Any]) -> torch.Tensor:
    return (batch["tool_mask"] * batch["completion_mask"]).bool()


def check_replay(trainer: MoTGRPOTrainer, batch: dict[str, Any], *, atol: float = 1e-5) -> None:
    logps = replayed(trainer, trainer.model, batch).logps
    assert torch.allclose(logps[scored(batch)], batch["rollout_logps"][scored(batch)], atol=atol)


CASES: dict[str, dict[str, Any]] = {
    "a budget": {"max_mixture_tokens": 6},
    "a budget in all": {"max_mixture_tokens": 6, "max_total_mixture_tokens": 9},
    "padded, masked, with a KL term": {
        "pad_to_multiple_of": 16,
        "mask_truncated_completions": True,
        "beta": 0.1,
        "num_iterations": 2,
    },
    "other logits": {"generation_kwargs": {"renormalize_logits": True}, "share_prompts": False, "num_iterations": 2},
    "no cache": {"generation_kwargs": {"use_cache": False}, "max_completion_length": 90, "max_mixture_tokens": 4},
    "several calls at once": {"tokenizer": {"calls": 3}},
    "a call of what is no tool": {"tokenizer": {"kind": "rm -rf /"}},
    "arguments that the tool does not take": {
        "tokenizer": {"a": {"b": [None]}, "c": "\x00<|im_end|>"},
        "max_completion_length": 500,
        "max_mixture_tokens": 4,
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_replay_is_generation_over_three_turns(strategy: str, tmp_path: Path, prompts: Dataset) -> None:
    trainer = make_trainer(tmp_path, prompts, strategy=strategy, max_mixture_tokens=6)

    batch = rollouts(trainer, prompts)

    turns, thinking = batch["rollout_turns"], batch["rollout_thinking_mask"]
    assert turns.max() >= 2
    for turn in range(3):
        assert (thinking & (turns == turn)).any()
    check_replay(trainer, batch)


@pytest.mark.parametrize("case", [pytest.param(name, marks=pytest.mark.slow) for name in CASES])
def test_replay_is_generation_whatever_the_setting(case: str, tmp_path: Path, prompts: Dataset) -> None:
    given = dict(CASES[case])
    tokenizer = tool_tokenizer(**given.pop("tokenizer", {}))
    # A reference model is loaded by the policy's name.
    talkative_model().save_pretrained(tmp_path / "model")
    trainer = make_trainer(tmp_path, prompts, model=str(tmp_path / "model"), tokenizer=tokenizer, **given)

    batch = rollouts(trainer, prompts)

    assert batch["rollout_turns"].max() >= 2
    check_replay(trainer, batch)
    if "old_per_token_logps" in batch:
        old, own = batch["old_per_token_logps"][scored(batch)], batch["rollout_logps"][scored(batch)]
        assert torch.allclose(old, own, atol=1e-5)


@pytest.mark.slow
def test_only_what_the_model_drew_is_scored(tmp_path: Path, prompts: Dataset) -> None:
    trainer = make_trainer(tmp_path, prompts, max_mixture_tokens=6)

    batch = rollouts(trainer, prompts)

    turns, forced, text = batch["rollout_turns"], batch["rollout_forced_mask"], batch["completion_ids"]
    is_text = batch["completion_mask"].bool()
    assert torch.equal(scored(batch), (turns >= 0) & ~forced)
    results = [trainer._tokenizer.decode(row[mask]) for row, mask in zip(text, is_text & (turns < 0), strict=True)]
    assert any(results)
    for result in filter(None, results):
        assert result.startswith("\n<|im_start|>tool\n")
        assert result.endswith("<|im_start|>assistant\n")
    assert not (batch["rollout_thinking_mask"] & (turns < 0)).any()
    assert batch["num_items_in_batch"] == scored(batch).sum()


@pytest.mark.slow
def test_each_turn_thinks_within_the_budgets(tmp_path: Path, prompts: Dataset) -> None:
    trainer = make_trainer(tmp_path, prompts, max_mixture_tokens=6, max_total_mixture_tokens=9)

    batch = rollouts(trainer, prompts)

    turns, thinking = batch["rollout_turns"], batch["rollout_thinking_mask"]
    lengths = torch.stack([(thinking & (turns == turn)).sum(dim=1) for turn in range(4)])
    spent = lengths.cumsum(dim=0)
    assert lengths.max() == 6
    assert spent.max() == 9
    # Where all is spent, the next turn begins with the closing tag.
    begun = (turns.amax(dim=1) >= torch.arange(1, 4).unsqueeze(1)) & (spent[:3] == 9)
    turn, row = begun.nonzero()[0].tolist()
    turn += 1
    tag = torch.tensor(trainer.decoder.phases.closing_ids)
    written = batch["completion_ids"][row][turns[row] == turn][: len(tag)]
    assert torch.equal(written, tag[: len(written)])
    assert lengths[turn, row] == 0


class Blind(TopK):
    """Mixes the same two tokens everywhere, with weights of its own; the text shows always the first of them."""

    def draw(self, logps: torch.Tensor) -> Mixture:
        ids = torch.tensor([[90, 91]]).expand(len(logps), -1)
        return Mixture(ids, torch.rand(len(logps), 2).log_softmax(dim=-1), ids[:, 0])


@pytest.mark.slow
def test_rows_with_the_same_text_keep_their_own_thoughts(tmp_path: Path, prompts: Dataset) -> None:
    results = iter(range(100))

    def add(a: int, b: int) -> str:
        """Return something, too much for some rows to go on.

        Args:
            a: A number.
            b: A number.
        """
        return "x" * (300 if next(results) % 3 == 0 else 5)

    settings = {"max_mixture_tokens": None, "generation_kwargs": {"max_new_tokens": 3}}
    tokenizer = tool_tokenizer(share=4)
    trainer = make_trainer(tmp_path, prompts, tokenizer=tokenizer, strategy=Blind(), tools=[add], **settings)

    batch = rollouts(trainer, prompts)

    assert (batch["completion_ids"][:, :3] == 90).all()
    assert len({weights.tolist()[0] for weights in batch["rollout_log_weights"][:, 0]}) == 8
    assert {0, 1, 2} <= {int(turn) for turn in batch["rollout_turns"].amax(dim=1)}
    check_replay(trainer, batch)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["one_token", "normal"])
def test_one_token_with_tools_is_plain_grpo(strategy: str, tmp_path: Path, prompts: Dataset) -> None:
    # Turns of one length, so that no row leaves the batch and the random streams stay in step.
    given = {**LONG, "generation_kwargs": {"suppress_tokens": [2], "max_new_tokens": 8}}
    plain_args = {name: value for name, value in given.items() if name != "trace_steps"}
    plain = GRPOTrainer(
        talkative_model(),
        letters,
        GRPOConfig(**settings(tmp_path, **plain_args)),
        train_dataset=prompts,
        processing_class=tool_tokenizer(),
        tools=[add],
    )
    theirs = watch_gradients(plain)
    plain.train()

    ours = {"normal_generation": True} if strategy == "normal" else {"strategy": strategy}
    trainer = make_trainer(tmp_path, prompts, **ours, **given)
    mine = watch_gradients(trainer)
    trainer.train()

    names = ("loss", "grad_norm", "entropy", "reward", "completions/mean_length", "tools/call_frequency")
    for name in names:
        assert logged(trainer, name) == pytest.approx(logged(plain, name), abs=1e-6, rel=1e-5), name
    assert logged(trainer, "tools/call_frequency")[0] >= 1
    for name, gradient in theirs[0].items():
        assert torch.allclose(mine[0][name], gradient, atol=1e-6), name


class Counter:
    """An environment that counts what was added, and pays for it."""

    total: int

    def reset(self, **_: Any) -> str:
        """Begin at 0."""
        self.total = 0
        return " Go."

    def add(self, a: int, b: int) -> str:
        """Add a number to the total.

        Args:
            a: The number.
            b: Is ignored.
        """
        self.total += a
        return f"Total {self.total}."

    def get_reward(self) -> float:
        """Pay the total."""
        return float(self.total % 7)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You are using 'environment_factory':UserWarning")  # TRL calls it experimental
@pytest.mark.parametrize("kind", ["one", "named"])
def test_environments_train(kind: str, tmp_path: Path, prompts: Dataset) -> None:
    environments = {"tools": None, "environment_factory": Counter if kind == "one" else {"counter": Counter}}
    rows = prompts.add_column("environment", ["counter"] * len(prompts)) if kind == "named" else prompts
    trainer = make_trainer(tmp_path, rows, **environments, reward_funcs=None, max_mixture_tokens=6)

    trainer.train()

    assert all(map(math.isfinite, logged(trainer, "loss") + logged(trainer, "grad_norm")))
    assert logged(trainer, "grad_norm")[0] > 0
    assert logged(trainer, "mixture/log_prob_gap")[0] < 1e-5
    assert logged(trainer, "mixture/turns")[0] > 1.5
    assert all(length <= 6 for turn in (1, 2, 3) for length in logged(trainer, f"mixture/thinking_length/turn_{turn}"))


@pytest.mark.slow
def test_no_tool_is_called_more_often_than_allowed(tmp_path: Path, prompts: Dataset) -> None:
    trainer = make_trainer(tmp_path, prompts, max_tool_calling_iterations=1, max_mixture_tokens=6)

    batch = rollouts(trainer, prompts)

    assert batch["rollout_turns"].max() == 1
    check_replay(trainer, batch)


@pytest.mark.slow
def test_a_turn_that_is_cut_short_is_recorded_as_far_as_it_goes(tmp_path: Path, prompts: Dataset) -> None:
    tokenizer = tool_tokenizer(share=10**9)
    trainer = make_trainer(tmp_path, prompts, tokenizer=tokenizer, max_completion_length=64)

    batch = rollouts(trainer, prompts)

    turns = batch["rollout_turns"]
    assert (turns[:, -1] > 0).any()
    assert batch["completion_ids"].size(1) == 64
    assert torch.equal(batch["rollout_lengths"], batch["completion_mask"].sum(dim=1))
    check_replay(trainer, batch)


@pytest.mark.slow
def test_a_row_that_breaks_in_a_later_turn_is_left_out(tmp_path: Path, prompts: Dataset) -> None:
    trainer = make_trainer(tmp_path, prompts, max_mixture_tokens=6)
    forward, calls = trainer.model.forward, iter(range(10**6))
    loop, in_loop = trainer._tool_call_loop, []

    def spoil(*args: Any, **kwargs: Any) -> Any:
        outputs = forward(*args, **kwargs)
        if in_loop and next(calls) == 0:
            outputs.logits[0] = torch.nan
        return outputs

    def watch(*args: Any) -> Any:
        in_loop.append(True)
        return loop(*args)

    trainer.model.forward, trainer._tool_call_loop = spoil, watch
    batch = rollouts(trainer, prompts)

    (broken,) = batch["rollout_non_finite"].nonzero().flatten().tolist()
    assert not batch["completion_mask"][broken].any()
    assert batch["advantages"][broken] == 0
    assert batch["completion_mask"].any(dim=1).sum() == 7


def test_a_conversation_that_was_tokenized_anew_is_refused(tmp_path: Path, prompts: Dataset) -> None:
    trainer = make_trainer(tmp_path, prompts)
    conversations = Conversations([[5, 6], [7, 8]])
    conversations.add_turn([[9], [10]], Rollout.empty(2, 1, num_candidates=2, device="cpu"))

    with trainer._scoped(RolloutScope(conversations=conversations)):
        with pytest.raises(RuntimeError, match="unknown whose thoughts they hold"):
            trainer._generate_single_turn([[5, 6, 9, 1]], None, {}, num_generations=1)
        with pytest.raises(ValueError, match="differs from its tokens so far at token 2, as if a turn"):
            trainer._generate_single_turn([RowIds([5, 6], 0).__add__([11, 1])], None, {}, num_generations=1)


@pytest.mark.parametrize("engine", ["use_vllm", "use_transformers_continuous_batching"])
def test_engines_that_cannot_read_thoughts_again_are_refused(engine: str, tmp_path: Path, prompts: Dataset) -> None:
    with pytest.raises(ValueError, match=f"leave out `{engine}`"):
        make_trainer(tmp_path, prompts, **{engine: True})


@pytest.mark.slow
def test_a_trace_shows_turns_and_results(tmp_path: Path, prompts: Dataset) -> None:
    trainer = make_trainer(tmp_path, prompts, max_mixture_tokens=6, trace_steps=1, max_steps=1)

    trainer.train()

    traces = load_traces(tmp_path)
    rows = traces.to_pylist()
    assert max(max(row["turns"]) for row in rows) >= 1
    for row in rows:
        result = "".join(text for text, turn in zip(row["tokens"], row["turns"], strict=True) if turn < 0)
        assert result.count("<|im_start|>tool") == max(row["turns"])
        begun = [change for change in row["phases"] if change["cause"] == "turn"]
        assert len(begun) == max(row["turns"])
    replay = to_replay(traces)
    lengths = [len(row["turns"]) for row in rows]
    assert [turns[:length] for turns, length in zip(replay.rollout.turn_numbers.tolist(), lengths, strict=True)] == [
        row["turns"] for row in rows
    ]
    write_page(tmp_path)
