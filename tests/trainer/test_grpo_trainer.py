"""The trainer is TRL's, and what mixtures change is what they should."""

import copy
import json
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_model, make_tokenizer
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoConfig, AutoModelForSeq2SeqLM, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from mot_trl import MoTGRPOConfig, MoTGRPOTrainer, Rollout
from mot_trl.generation.phases import BudgetRule, ColdStopRule
from mot_trl.generation.stop_text import TextRule
from mot_trl.strategies.one_token import OneToken
from mot_trl.trainer.replay import RolloutScope


def letters(completions: list[list[dict[str, str]]], **_: object) -> list[float]:
    """A reward that differs within a group."""
    return [float(sum(map(ord, completion[0]["content"])) % 7) for completion in completions]


def settings(folder: Path, **overrides: Any) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "num_generations": 4,
        "max_completion_length": 12,
        "max_steps": 2,
        "learning_rate": 1e-3,
        "report_to": [],
        "logging_steps": 1,
        "use_cpu": True,
        "bf16": False,
        "save_strategy": "no",
        "temperature": 0.9,
        "disable_tqdm": True,
        **overrides,
    }


def make_trainer(
    folder: Path,
    prompts: Dataset,
    *,
    model: Any = None,
    peft_config: Any = None,
    own_strategy: Any = None,
    **overrides: Any,
) -> MoTGRPOTrainer:
    return MoTGRPOTrainer(
        make_model() if model is None else model,
        letters,
        MoTGRPOConfig(**settings(folder, **overrides)),
        train_dataset=prompts,
        eval_dataset=prompts.select(range(2)),
        processing_class=make_tokenizer(),
        peft_config=peft_config,
        strategy=own_strategy,
    )


def logged(trainer: GRPOTrainer, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


@pytest.mark.parametrize("arm", ["one_token", "normal"])
def test_one_token_is_plain_grpo(arm: str, tmp_path: Path, prompts: Dataset) -> None:
    # No row ends early and leaves the batch, so that the random streams stay in step.
    endless = {"generation_kwargs": {"suppress_tokens": [2]}}
    ours = {"normal_generation": True} if arm == "normal" else {"strategy": "one_token"}
    plain = GRPOTrainer(
        make_model(),
        letters,
        GRPOConfig(**settings(tmp_path, **endless)),
        train_dataset=prompts,
        processing_class=make_tokenizer(),
    )
    theirs = watch_gradients(plain)
    plain.train()

    trainer = make_trainer(tmp_path, prompts, **ours, **endless)
    mine = watch_gradients(trainer)
    trainer.train()

    for name in ("loss", "grad_norm", "entropy", "reward", "completions/mean_length"):
        assert logged(trainer, name) == pytest.approx(logged(plain, name), abs=1e-6, rel=1e-5), name
    for name, gradient in theirs[0].items():
        assert torch.allclose(mine[0][name], gradient, atol=1e-6), name


def watch_gradients(trainer: GRPOTrainer) -> list[dict[str, torch.Tensor]]:
    """The gradients before each step of the optimizer, as training goes on."""
    steps: list[dict[str, torch.Tensor]] = []

    class Watch(TrainerCallback):
        def on_pre_optimizer_step(self, *args: Any, model: Any, **kwargs: Any) -> None:
            steps.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})

    trainer.add_callback(Watch())
    return steps


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"num_iterations": 2, "steps_per_generation": 4},
        {"gradient_checkpointing": False},
        {"importance_sampling_level": "sequence", "loss_type": "grpo"},
        {"top_entropy_quantile": 0.5},
        {"mask_truncated_completions": True},
        {"pad_to_multiple_of": 8},
        {"cast_lm_head_to_fp32": True},
        {"scale_rewards": "batch", "generation_kwargs": {"repetition_penalty": 1.1}},
        {"max_mixture_tokens": 3},
        {"mixture_score": "expected"},
        {"mixture_score": "visible", "strategy": "dirichlet"},
        *({"loss_type": name} for name in ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "luspo", "sapo", "vespo")),
    ],
    ids=str,
)
def test_every_setting_of_trls_trains(overrides: dict[str, Any], tmp_path: Path, prompts: Dataset) -> None:
    trainer = make_trainer(tmp_path, prompts, **overrides)

    trainer.train()

    assert all(map(math.isfinite, logged(trainer, "loss") + logged(trainer, "grad_norm")))
    if overrides.get("generation_kwargs") is None and overrides.get("mask_truncated_completions") is None:
        assert logged(trainer, "mixture/log_prob_gap")[0] < 1e-5


def test_bfloat16_trains_with_a_small_gap(tmp_path: Path, prompts: Dataset) -> None:
    trainer = make_trainer(tmp_path, prompts, bf16=True)

    trainer.train()

    assert 0 < logged(trainer, "mixture/log_prob_gap")[0] < 0.1


@pytest.mark.parametrize("strategy", ["one_token", "top_k", "dirichlet", "without_replacement"])
@pytest.mark.parametrize("tied", [True, False])
def test_every_parameter_moves_and_the_table_learns_in_every_arm(
    strategy: str, tied: bool, tmp_path: Path, prompts: Dataset
) -> None:
    model = make_model(tie_word_embeddings=tied)
    before = copy.deepcopy(model.state_dict())
    table_gradients: list[float] = []

    class Watch(TrainerCallback):
        def on_pre_optimizer_step(self, *args: Any, model: Any, **kwargs: Any) -> None:
            table_gradients.append(float(model.get_input_embeddings().weight.grad.norm()))

    trainer = make_trainer(tmp_path, prompts, model=model, strategy=strategy)
    trainer.add_callback(Watch())
    trainer.train()

    for name, parameter in model.state_dict().items():
        assert not torch.equal(parameter, before[name]), name
    assert min(table_gradients) > 0


def test_lora_moves_the_adapter_and_nothing_else(tmp_path: Path, prompts: Dataset) -> None:
    model = make_model()
    before = copy.deepcopy(model.state_dict())
    adapter = LoraConfig(target_modules=["q_proj", "v_proj"])
    trainer = make_trainer(tmp_path, prompts, model=model, peft_config=adapter, beta=0.1, max_steps=3)

    trainer.train()

    after = {
        name.removeprefix("base_model.model.").replace("base_layer.", ""): parameter
        for name, parameter in trainer.model.state_dict().items()
    }
    assert all(torch.equal(after[name], parameter) for name, parameter in before.items())
    assert all(after[name].abs().max() > 0 for name in after if "lora_B" in name)
    assert logged(trainer, "kl")[0] == pytest.approx(0.0, abs=1e-6)
    assert logged(trainer, "kl")[-1] > 0


def test_the_reference_model_replays_the_same_mixtures(tmp_path: Path, prompts: Dataset) -> None:
    make_model().save_pretrained(tmp_path / "model")
    trainer = make_trainer(tmp_path, prompts, model=str(tmp_path / "model"), beta=0.1)

    trainer.train()

    assert trainer.ref_model is not None
    assert logged(trainer, "kl")[0] == pytest.approx(0.0, abs=1e-6)


def test_old_log_probs_give_ratio_one_at_the_first_pass(tmp_path: Path, prompts: Dataset) -> None:
    trainer = make_trainer(tmp_path, prompts, num_iterations=2, strategy="dirichlet", shuffle_dataset=False)
    ratios: list[torch.Tensor] = []
    compute_loss, compute_logps = trainer._compute_loss, trainer._get_per_token_logps_and_entropies
    replayed: list[torch.Tensor] = []

    def watched_logps(*args: Any, **kwargs: Any) -> Any:
        outputs = compute_logps(*args, **kwargs)
        replayed.append(outputs[0].detach())
        return outputs

    def watched_loss(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        loss = compute_loss(model, inputs)
        mask = inputs["completion_mask"].bool()
        ratios.append((replayed[-1] - inputs["old_per_token_logps"])[mask].exp())
        return loss

    trainer._compute_loss, trainer._get_per_token_logps_and_entropies = watched_loss, watched_logps
    trainer.train()

    assert len(ratios) == 4
    for first in ratios[:2]:
        assert torch.allclose(first, torch.ones_like(first), atol=1e-5)
    assert not all(torch.allclose(later, torch.ones_like(later), atol=1e-5) for later in ratios[2:])


@pytest.mark.parametrize("strategy", ["one_token", "dirichlet"])
def test_old_log_probs_are_not_computed_where_generation_has_paid_for_them(
    strategy: str, tmp_path: Path, prompts: Dataset
) -> None:
    paid = make_trainer(tmp_path, prompts, num_iterations=2, strategy=strategy)
    harmless = {"no_repeat_ngram_size": 20}
    computed = make_trainer(tmp_path, prompts, num_iterations=2, strategy=strategy, generation_kwargs=harmless)
    calls = {True: 0, False: 0}
    old_logps = {}

    for trainer in (paid, computed):
        batches: list[dict[str, Any]] = []
        trainer.model.base_model.register_forward_pre_hook(
            lambda *_, is_paid=trainer is paid: calls.__setitem__(is_paid, calls[is_paid] + 1)
        )
        compute_loss = trainer._compute_loss

        def watched(model: Any, inputs: dict[str, Any], batches=batches, compute_loss=compute_loss) -> torch.Tensor:
            batches.append(inputs)
            return compute_loss(model, inputs)

        trainer._compute_loss = watched
        torch.manual_seed(0)
        trainer.train()
        old_logps[trainer is paid] = [
            (batch["old_per_token_logps"] * batch["completion_mask"]).sum(-1).sort().values for batch in batches[:2]
        ]

    assert calls[True] < calls[False]
    for with_pass, without in zip(old_logps[False], old_logps[True], strict=True):
        assert torch.allclose(with_pass, without, atol=1e-4)


@pytest.mark.parametrize(
    "overrides",
    [
        {"top_p": 0.9},
        {"top_k": 5},
        {"min_p": 0.1},
        {"repetition_penalty": 1.1},
        {"generation_kwargs": {"suppress_tokens": [2]}},
        {"generation_kwargs": {"temperature": 0.5}},
        {"bf16": True},
        {"beta": 0.1, "peft_config": LoraConfig(target_modules=["q_proj"])},
        {"peft_config": LoraConfig(target_modules=["q_proj"], lora_dropout=0.1)},
        {"dropout": 0.1},
        {"suppress": [2]},
    ],
    ids=str,
)
def test_old_log_probs_are_computed_where_generation_drew_from_something_else(
    overrides: dict[str, Any], tmp_path: Path, prompts: Dataset
) -> None:
    model, overrides = make_model(attention_dropout=overrides.get("dropout", 0.0)), dict(overrides)
    # Of the model's own, which `generate` adds to TRL's.
    model.generation_config.suppress_tokens = overrides.pop("suppress", None)
    overrides.pop("dropout", None)

    redundant = []
    for each in ({"model": make_model()}, {"model": model, **overrides}):
        trainer = make_trainer(tmp_path, prompts, trace_steps=0, **each)
        trainer._generate_and_score_completions([prompts[0]] * 4)
        redundant.append(trainer._replay_is_redundant)

    assert redundant == [True, False]


@pytest.mark.parametrize("peft_config", [None, LoraConfig(target_modules=["q_proj", "v_proj"])], ids=["full", "lora"])
def test_reading_each_prompt_once_changes_no_number_of_a_run(
    peft_config: LoraConfig | None, tmp_path: Path, prompts: Dataset
) -> None:
    make_model().save_pretrained(tmp_path / "model")
    tokens = {True: 0, False: 0}
    logs = {}

    for share_prompts in (True, False):
        trainer = make_trainer(
            tmp_path,
            prompts,
            model=str(tmp_path / "model"),
            peft_config=peft_config,
            strategy="dirichlet",
            beta=0.1,
            num_iterations=2,
            max_steps=4,
            # Small, lest rounding grow into other draws.
            learning_rate=1e-4,
            share_prompts=share_prompts,
        )
        policy = trainer.model if peft_config is None else trainer.model.get_base_model()
        policy.base_model.register_forward_pre_hook(
            lambda module, args, kwargs, at=share_prompts: tokens.__setitem__(
                at, tokens[at] + kwargs["input_ids"].numel() * torch.is_grad_enabled()
            ),
            with_kwargs=True,
        )
        torch.manual_seed(0)
        trainer.train()
        logs[share_prompts] = {name: logged(trainer, name) for name in ("loss", "grad_norm", "entropy", "kl")}

    assert 0 < tokens[True] < 0.7 * tokens[False]
    for name, numbers in logs[False].items():
        assert logs[True][name] == pytest.approx(numbers, abs=1e-5, rel=1e-4), name
    assert max(logs[False]["kl"]) > 0


def test_phases_are_those_of_the_settings(tmp_path: Path, prompts: Dataset) -> None:
    trainer = make_trainer(
        tmp_path,
        prompts,
        start_text="<think>",
        stop_text="!",
        max_mixture_tokens=7,
        cold_stop_threshold=0.2,
        cold_stop_patience=3,
    )

    phases = trainer.decoder.phases

    assert isinstance(phases.start, TextRule)
    assert phases.rules[1:] == (BudgetRule(7), ColdStopRule(0.2, 3))
    assert phases.closing_ids == tuple(make_tokenizer().encode("!"))


def test_the_models_own_generate_is_left_as_it_was(tmp_path: Path, prompts: Dataset) -> None:
    plain, patched = make_model(), make_model()
    patched.generate = own = partial(patched.generate, use_cache=True)

    for model in (plain, patched):
        make_trainer(tmp_path, prompts, model=model, max_steps=1).train()

    assert "generate" not in vars(plain)
    assert vars(patched)["generate"] is own


def test_forced_tokens_carry_no_loss(tmp_path: Path, prompts: Dataset) -> None:
    trainer = make_trainer(tmp_path, prompts, max_mixture_tokens=2)
    batches: list[dict[str, Any]] = []
    compute_loss = trainer._compute_loss

    def watched(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        batches.append(inputs)
        return compute_loss(model, inputs)

    trainer._compute_loss = watched
    trainer.train()

    for batch in batches:
        rollout = Rollout.from_batch(batch)
        assert rollout.forced_mask.any()
        assert torch.equal(batch["tool_mask"].bool(), ~rollout.forced_mask)
    counted = sum((batch["tool_mask"] * batch["completion_mask"]).sum() for batch in batches[:2])
    assert batches[0]["num_items_in_batch"] == counted


def test_evaluation_generates_with_mixtures_too(tmp_path: Path, prompts: Dataset) -> None:
    trainer = make_trainer(tmp_path, prompts, per_device_eval_batch_size=4)

    metrics = trainer.evaluate()

    assert 0 < metrics["eval_mixture/share"] <= 1
    assert metrics["eval_mixture/effective_candidates"] > 1
    assert "eval_mixture/closed_ratio" in metrics


def test_a_strategy_of_ones_own_is_used(tmp_path: Path, prompts: Dataset) -> None:
    class Own:
        exact = True
        draws = 0

        def draw(self, logps: torch.Tensor) -> Any:
            self.draws += 1
            return OneToken().draw(logps)

        def log_prob(self, candidate_logps: torch.Tensor, mixture: Any) -> torch.Tensor:
            return OneToken().log_prob(candidate_logps, mixture)

    own = Own()
    trainer = make_trainer(tmp_path, prompts, own_strategy=own, max_steps=1)

    trainer.train()

    assert own.draws > 0


def test_the_resolved_decoder_is_printed_once_and_stored_with_the_run(
    tmp_path: Path, prompts: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = make_trainer(tmp_path, prompts, max_steps=1, experiment_name="soft_grpo", strategy_kwargs={"k": 3})

    trainer.train()

    begun = capsys.readouterr().out.splitlines()
    (line,) = [line for line in begun if line.startswith("Decoder: ")]
    printed, stored = json.loads(line.removeprefix("Decoder: ")), trainer.args.to_dict()
    options = {"temperature": 0.1, "nucleus": 0.95, "min_prob": 0.0, "min_ratio": 0.0}
    assert printed["strategy"] == "gumbel_softmax"
    assert printed["strategy_kwargs"].items() >= {"k": 3, **options}.items()
    assert begun[begun.index(line) + 1 :][:4] == [
        f"Device: cpu ({torch.get_num_threads()} threads), 1 process",
        "Dtype: float32 weights, no mixed precision",
        "Attention: sdpa",
        "Engine: transformers, with mixtures",
    ]
    assert (stored["strategy"], stored["mixture_k"], stored["strategy_kwargs"]) == ("gumbel_softmax", 3, options)


def test_one_candidate_is_scored_by_its_strategys_log_prob(tmp_path: Path, prompts: Dataset) -> None:
    class Doubled:
        exact = False
        draw = staticmethod(OneToken().draw)

        def log_prob(self, candidate_logps: torch.Tensor, mixture: Any) -> torch.Tensor:
            return 2 * OneToken().log_prob(candidate_logps, mixture)

    recorded, replayed = [], []
    for own in (OneToken(), Doubled()):
        trainer = make_trainer(tmp_path, prompts, own_strategy=own)
        batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
        rollout = Rollout.from_batch(batch)
        with trainer._scoped(RolloutScope(rollout)):
            ids, mask = (
                torch.cat([batch[f"{part}_{name}"] for part in ("prompt", "completion")], 1)
                for name in ("ids", "mask")
            )
            logps, *_ = trainer._get_per_token_logps_and_entropies(
                trainer.model, ids, mask, batch["completion_ids"].size(1), compute_entropy=True
            )
        recorded.append(rollout.logps[rollout.thinking_mask])
        replayed.append(logps[rollout.thinking_mask])

    torch.testing.assert_close(replayed, recorded, atol=1e-5, rtol=0)
    torch.testing.assert_close(recorded[1], 2 * recorded[0])


def test_model_name_and_configuration_can_be_left_to_the_trainer(
    tmp_path: Path, prompts: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass
    class OnCpu(MoTGRPOConfig):
        use_cpu: bool = True
        bf16: bool | None = False

    monkeypatch.setattr("mot_trl.trainer.grpo_trainer.MoTGRPOConfig", OnCpu)
    monkeypatch.chdir(tmp_path)
    make_model().save_pretrained("tiny")
    make_tokenizer().save_pretrained("tiny")

    trainer = MoTGRPOTrainer("tiny", letters, train_dataset=prompts)

    assert isinstance(trainer.args, MoTGRPOConfig)
    assert trainer.args.output_dir == "tiny-GRPO"


def test_what_cannot_go_with_mixtures_is_refused(tmp_path: Path, prompts: Dataset) -> None:
    seq2seq = AutoModelForSeq2SeqLM.from_config(
        AutoConfig.for_model("t5", d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=259)
    )
    plain = GRPOConfig(**settings(tmp_path))

    with pytest.raises(ValueError, match="decoder-only one"):
        make_trainer(tmp_path, prompts, model=seq2seq)
    with pytest.raises(ValueError, match="beyond the vocabulary of 259"):
        make_trainer(tmp_path, prompts, mixture_k=300)
    with pytest.raises(ValueError, match="`stop_text=''` encodes to no token"):
        make_trainer(tmp_path, prompts, stop_text="")
    with pytest.raises(TypeError, match=r"must be a `mot_trl\.MoTGRPOConfig`"):
        MoTGRPOTrainer(make_model(), letters, plain, train_dataset=prompts)
    with pytest.raises(ValueError, match="`train_dataset` has no rows"):
        make_trainer(tmp_path, prompts.select([]))
    with pytest.raises(ValueError, match=r"needs a column `prompt` .* and has \['text'\]"):
        make_trainer(tmp_path, prompts.rename_column("prompt", "text"))
