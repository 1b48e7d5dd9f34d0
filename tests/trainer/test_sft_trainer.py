"""Fine-tuning on thinking in mixtures: with single tokens it is TRL's, and a record of generation fits its inputs."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_model, make_tokenizer
from datasets import Dataset
from peft import LoraConfig
from torch.nn import functional as F
from trl import SFTConfig, SFTTrainer

from mot_trl import MoTSFTConfig, MoTSFTTrainer, generate
from mot_trl.generation.config import DecoderConfig
from mot_trl.modeling.rollout import Rollout
from mot_trl.trainer.soft_exposure import mark_thinking
from mot_trl.trainer.thoughts import EXPOSED, IGNORED

TOKENIZER = make_tokenizer()


def ids(text: str) -> list[int]:
    return TOKENIZER.encode(text, add_special_tokens=False)


def settings(folder: Path, **overrides: Any) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": 4,
        "max_steps": 3,
        "learning_rate": 1e-2,
        "report_to": [],
        "logging_steps": 1,
        "use_cpu": True,
        "bf16": False,
        "save_strategy": "no",
        "disable_tqdm": True,
        **overrides,
    }


def make_trainer(
    folder: Path, rows: Dataset, *, model: Any = None, peft_config: Any = None, **overrides: Any
) -> MoTSFTTrainer:
    return MoTSFTTrainer(
        make_model() if model is None else model,
        MoTSFTConfig(**settings(folder, **overrides)),
        train_dataset=rows,
        processing_class=TOKENIZER,
        peft_config=peft_config,
    )


PROMPTS = [f"ask {number}: " for number in range(16)]
ANSWERS = [f"</think>{number}{'!' * (number % 3)}" for number in range(16)]
TOKENS = Dataset.from_dict({"prompt": PROMPTS, "completion": ["abc" + answer for answer in ANSWERS]})
"""Rows that think `abc`, in tokens."""

STEPS = [[ids("ab"), ids("c"), ids("def")][: number % 4] for number in range(16)]
WEIGHTS = [[[0.3, 0.7], [1.0], [0.2, 0.2, 0.6]][: number % 4] for number in range(16)]
MIXTURES = Dataset.from_dict(
    {"prompt": PROMPTS, "completion": ANSWERS, "thought_ids": STEPS, "thought_weights": WEIGHTS}
)
"""Rows of none to three thoughts, of one to three candidates."""


def history(trainer: SFTTrainer) -> list[tuple[float, ...]]:
    names = ("loss", "grad_norm", "mean_token_accuracy", "entropy", "num_tokens")
    return [tuple(entry[name] for name in names) for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("rows", ["tokens", "thoughts of one candidate"])
@pytest.mark.parametrize(
    "overrides",
    [{}, {"packing": True, "max_length": 40}, {"max_length": 18}, {"gradient_checkpointing": False}, {"lora": True}],
    ids=str,
)
def test_one_candidate_is_trls_fine_tuning(rows: str, overrides: dict[str, Any], tmp_path: Path) -> None:
    options = dict(overrides)
    peft_config = LoraConfig(target_modules="all-linear") if options.pop("lora", False) else None
    plain = SFTTrainer(
        make_model(),
        SFTConfig(**settings(tmp_path, **options)),
        train_dataset=TOKENS,
        processing_class=TOKENIZER,
        peft_config=peft_config,
    )
    plain.train()
    thoughts = {"completion": ANSWERS, "thought_ids": [[[token] for token in ids("abc")]] * 16}
    same = TOKENS if rows == "tokens" else Dataset.from_dict({"prompt": PROMPTS, **thoughts})

    trainer = make_trainer(tmp_path, same, peft_config=peft_config, **options)
    trainer.train()

    assert len(history(trainer)) == 3
    for ours, theirs in zip(history(trainer), history(plain), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6, rel=1e-6)


def by_hand(model: Any, prompt: list[int], thoughts: Any, weights: Any, answer: list[int]) -> torch.Tensor:
    """The cross-entropy of each thought and token after a prompt, from blends made here."""
    table = model.get_input_embeddings().weight
    blends = [torch.tensor(each) @ table[row] for row, each in zip(thoughts, weights, strict=True)]
    embeddings = torch.cat([table[prompt], *(blend.unsqueeze(0) for blend in blends), table[answer]])
    logps = model(inputs_embeds=embeddings.unsqueeze(0)).logits[0].log_softmax(dim=-1)[len(prompt) - 1 :]
    mixtures = zip(thoughts, weights, strict=True)
    soft = [-(torch.tensor(each) @ logps[step][row]) for step, (row, each) in enumerate(mixtures)]
    hard = F.nll_loss(logps[len(soft) : -1], torch.tensor(answer), reduction="none")
    return torch.cat([*(loss.reshape(1) for loss in soft), hard])


def test_of_several_spans_those_that_ended_are_marked() -> None:
    phases = DecoderConfig(stop_text="</t>", restart_text="<t>").build_phases(TOKENIZER)
    text = "ab</t>c<t>de</t>f<t>gh"
    completions = [TOKENIZER.encode(text), TOKENIZER.encode(text + "</t>"), TOKENIZER.encode("never")]

    marked = mark_thinking({"input_ids": completions, "labels": completions}, phases=phases)["input_ids"]

    # All but the token that completes the tag.
    thoughts = [
        "".join(letter if token >= EXPOSED else "." for letter, token in zip(text, row, strict=False))
        for row in marked[:2]
    ]
    assert thoughts == ["ab</t.....de</t.......", "ab</t.....de</t.....gh"]
    assert max(marked[2]) < EXPOSED


@pytest.mark.parametrize("overrides", [{}, {"packing": True, "max_length": 48}], ids=str)
def test_the_loss_is_the_cross_entropy_against_the_weights(overrides: dict[str, Any], tmp_path: Path) -> None:
    model = make_model()
    expected = torch.cat(
        [
            by_hand(model, ids(prompt), steps, weights, [*ids(answer), TOKENIZER.eos_token_id])
            for prompt, steps, weights, answer in zip(PROMPTS, STEPS, WEIGHTS, ANSWERS, strict=True)
        ]
    )
    trainer = make_trainer(tmp_path, MIXTURES, model=model, per_device_train_batch_size=16, **overrides)

    batch = next(iter(trainer.get_train_dataloader()))
    loss = trainer.compute_loss(trainer.model, batch)

    assert (batch["labels"] != IGNORED).sum() == len(expected)
    assert loss.item() == pytest.approx(expected.mean().item(), rel=1e-5)


def test_a_generated_record_has_its_own_log_probs_again(tmp_path: Path) -> None:
    model = make_model()
    phases = DecoderConfig(stop_text="e", max_mixture_tokens=7).build_phases(TOKENIZER)
    generated = generate(
        model, TOKENIZER, PROMPTS, strategy="dirichlet", phases=phases, max_new_tokens=16, eos_token_id=[]
    )
    rollout, rows, expected = generated.rollout, [], []
    for row in (rollout.closed_by >= 0).nonzero().squeeze(1).tolist():
        prompt, completion = ids(PROMPTS[row]), list(generated.completion_ids[row])
        # A drawn closing token is scored by the strategy, and is no thought.
        steps = int(rollout.thinking_mask[row].sum()) - (rollout.closed_by[row] == 0).int().item()
        rows.append(
            {
                "input_ids": prompt + completion[steps:],
                "labels": [IGNORED] * len(prompt) + completion[steps:],
                "thought_ids": rollout.candidate_ids[row, :steps].tolist(),
                "thought_weights": rollout.log_weights[row, :steps].exp().tolist(),
            }
        )
        expected.append(rollout.logps[row, steps + 1 : len(completion)].tolist())
    trainer = make_trainer(tmp_path, Dataset.from_list(rows), model=model, shuffle_dataset=False)

    batch = trainer.data_collator([trainer.train_dataset[row] for row in range(len(rows))])
    replayed = Rollout.from_batch(batch)
    tokens = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
    outputs = trainer.model(**tokens, rollout=replayed, fused_lm_head=True)

    assert sum(map(len, expected)) > 20
    for row, answer in enumerate(expected):
        is_token = (batch["labels"][row, 1:] != IGNORED) & ~replayed.thinking_mask[row]
        assert outputs.log_probs[row][is_token][1:].tolist() == pytest.approx(answer, abs=2e-5)


def test_training_on_mixtures_learns_them(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, MIXTURES, max_steps=25, per_device_train_batch_size=8)

    trainer.train()

    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0] / 2
    assert trainer.evaluate(MIXTURES.select(range(4)))["eval_loss"] < losses[0] / 2


def test_marked_tokens_are_those_that_generation_mixes() -> None:
    torch.manual_seed(1)
    phases = DecoderConfig(stop_text="e").build_phases(TOKENIZER)
    generated = generate(make_model(), TOKENIZER, PROMPTS, strategy="top_k", phases=phases, max_new_tokens=64)
    completions = [list(each) for each in generated.completion_ids]

    marked = mark_thinking({"input_ids": completions, "labels": completions}, phases=phases)["input_ids"]

    closed = (generated.rollout.closed_by >= 0).tolist()
    assert any(closed)
    for row, tokens in enumerate(marked):
        mixed = generated.rollout.mixture_mask[row, : len(tokens)].tolist()
        assert [token >= EXPOSED for token in tokens] == (mixed if closed[row] else [False] * len(tokens))
        assert [token % EXPOSED for token in tokens] == completions[row]


@pytest.mark.parametrize("overrides", [{}, {"packing": True, "max_length": 48}], ids=str)
def test_exposed_tokens_are_fed_as_the_models_own_prediction(overrides: dict[str, Any], tmp_path: Path) -> None:
    model, strategy = make_model(), {"strategy": "top_k", "strategy_kwargs": {"k": 2}}
    trainer = make_trainer(
        tmp_path, TOKENS, model=model, exposure=1.0, per_device_train_batch_size=16, **strategy, **overrides
    )
    losses = []
    for prompt, answer in zip(PROMPTS, ANSWERS, strict=True):
        completion = [*ids("abc" + answer), TOKENIZER.eos_token_id]
        tokens = torch.tensor([ids(prompt) + completion])
        start, thoughts = len(ids(prompt)), len(ids("abc</think"))
        first = model(input_ids=tokens).logits.softmax(dim=-1)[0, start - 1 : start - 1 + thoughts]
        weights, candidates = first.topk(2)
        table = model.get_input_embeddings().weight
        embeddings = table[tokens[0]].clone()
        embeddings[start : start + thoughts] = torch.einsum(
            "tk,tkh->th", weights / weights.sum(dim=-1, keepdim=True), table[candidates]
        )
        logits = model(inputs_embeds=embeddings.unsqueeze(0)).logits[0, start - 1 : -1]
        losses.append(F.cross_entropy(logits, torch.tensor(completion), reduction="none"))

    trainer.model.train()
    batch = next(iter(trainer.get_train_dataloader()))
    loss = trainer.compute_loss(trainer.model, dict(batch))

    assert loss.item() == pytest.approx(torch.cat(losses).mean().item(), rel=1e-5)
    trainer.model.eval()
    plain = SFTTrainer(
        make_model(),
        SFTConfig(**settings(tmp_path, **overrides)),
        train_dataset=TOKENS,
        processing_class=TOKENIZER,
    )
    assert trainer.evaluate(TOKENS)["eval_loss"] == pytest.approx(plain.evaluate(TOKENS)["eval_loss"], rel=1e-6)


def test_a_share_of_the_thinking_is_exposed(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, TOKENS, exposure=0.25, per_device_train_batch_size=16)
    shares = []

    def look(module: Any, *call: Any) -> None:
        inputs = call[1].get("rollout")
        if inputs is not None:
            shares.append(inputs.rollout.mixture_mask.sum().item() / (16 * len("abc</think")))

    trainer.model.register_forward_pre_hook(look, with_kwargs=True)
    trainer.model.train()
    batch = next(iter(trainer.get_train_dataloader()))
    for _ in range(40):
        trainer.compute_loss(trainer.model, dict(batch))

    assert len(shares) == 40
    assert sum(shares) / 40 == pytest.approx(0.25, abs=0.03)


def thoughts(**columns: Any) -> Dataset:
    rows = {"prompt": PROMPTS[:3], "completion": ANSWERS[:3], "thought_ids": [[[5, 6]], [[7]], []], **columns}
    return Dataset.from_dict({name: values for name, values in rows.items() if values is not None})


@pytest.mark.parametrize(
    ("rows", "overrides", "message"),
    [
        (thoughts(thought_ids=[[[5, 6]], [[-7]], []]), {}, "Row 1 .* candidate that is no token"),
        (thoughts(thought_ids=[[[5, 6]], [[None]], []]), {}, "Row 1 .* candidate that is no token"),
        (thoughts(thought_ids=[[[5, 6]], [[259]], []]), {}, "names token 259, and the model has 259"),
        (thoughts(thought_ids=[[[5, 6], []], [[7]], []]), {}, "Row 0 .* step without weight"),
        (thoughts(thought_weights=[[[0.5, 0.5]], [[1.0]], [[1.0]]]), {}, "Row 2 .* not as many steps"),
        (thoughts(thought_weights=[[[0.5, 0.5]], [[0.5, 0.5]], []]), {}, "Row 1 .* not as many weights"),
        (thoughts(thought_weights=[[[0.5, -0.5]], [[1.0]], []]), {}, "Row 0 .* negative"),
        (thoughts(thought_weights=[[[0.5, 0.5]], [[float("nan")]], []]), {}, "Row 1 .* no number"),
        (thoughts(thought_weights=[[[0.5, 0.5]], [[0.0]], []]), {}, "Row 1 .* without weight"),
        (thoughts(thought_weights=[[[0.5, float("inf")]], [[1.0]], []]), {}, "Row 0 .* without weight"),
        (thoughts(prompt=["a", "", "b"]), {}, "Row 1 .* empty prompt"),
        (thoughts(prompt=None, completion=None, text=["a"] * 3), {}, "`prompt` and `completion`"),
        (thoughts(), {"completion_only_loss": False}, "`completion_only_loss` must not be False"),
        (thoughts(), {"packing": True, "packing_strategy": "wrapped", "max_length": 40}, "use 'bfd'"),
        (thoughts(), {"exposure": 0.5}, "rows that think in tokens"),
        (thoughts(), {"loss_type": "dft"}, "`loss_type` is about single tokens"),
        pytest.param(
            thoughts(),
            {"label_smoothing_factor": 0.1},
            "`label_smoothing_factor` is about single tokens",
            marks=pytest.mark.filterwarnings("ignore:`label_smoothing_factor`:FutureWarning"),
        ),
        (thoughts().to_iterable_dataset(), {}, "cannot be streamed"),
        (TOKENS, {"exposure": 0.5, "stop_text": "</thought>"}, "nothing to expose"),
        (TOKENS, {"exposure": 1.5}, "give 0 to 1"),
        (TOKENS, {"strategy": "topk"}, "topk"),
        (TOKENS, {"strategy_kwargs": {"size": 2}}, "size"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(rows: Any, overrides: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        make_trainer(tmp_path, rows, **overrides)


def test_a_dataset_to_evaluate_is_checked_too(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, MIXTURES)

    with pytest.raises(ValueError, match="names token 259"):
        trainer.evaluate(thoughts(thought_ids=[[[5, 6]], [[259]], []]))


def test_trls_own_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="MoTSFTConfig"):
        MoTSFTTrainer(make_model(), SFTConfig(**settings(tmp_path)), train_dataset=TOKENS, processing_class=TOKENIZER)
