"""What cannot be trained with mixtures is refused when the trainer is made, and named."""

from pathlib import Path
from typing import Any

import pytest
from conftest import make_model, make_tokenizer
from datasets import Dataset, IterableDataset
from peft import (
    CPTConfig,
    LoraConfig,
    MultitaskPromptTuningConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
)
from test_grpo_trainer import letters, make_trainer, settings

from mot_trl import MoTGRPOConfig, MoTGRPOTrainer, MoTSFTConfig, MoTSFTTrainer
from mot_trl.strategies.dirichlet import Dirichlet
from mot_trl.tasks import gsm8k

PROMPT_LEARNING = {
    PromptTuningConfig: {},
    PrefixTuningConfig: {},
    PromptEncoderConfig: {},
    MultitaskPromptTuningConfig: {"num_tasks": 2},
    CPTConfig: {"cpt_token_ids": [5, 6], "cpt_mask": [1, 1], "cpt_tokens_type_mask": [1, 1]},
}


def prompt_learning(kind: Any) -> Any:
    size = {} if kind is CPTConfig else {"num_virtual_tokens": 2}
    return kind(task_type="CAUSAL_LM", **size, **PROMPT_LEARNING[kind])


@pytest.mark.parametrize("kind", PROMPT_LEARNING)
def test_adapters_that_learn_prompts_are_refused(kind: Any, tmp_path: Path, prompts: Dataset) -> None:
    message = f"{kind.__name__} learns inputs that are embedded outside of the model.*use LoRA instead"

    with pytest.raises(ValueError, match=message):
        make_trainer(tmp_path, prompts, peft_config=prompt_learning(kind))


@pytest.mark.parametrize("name", ["default", "second"])
def test_so_are_those_of_a_model_that_has_them_already(name: str, tmp_path: Path, prompts: Dataset) -> None:
    model = get_peft_model(make_model(), LoraConfig(target_modules=["q_proj"]))
    if name == "default":
        model = get_peft_model(make_model(), prompt_learning(PrefixTuningConfig))
    else:
        model.peft_config[name] = prompt_learning(PromptTuningConfig)

    with pytest.raises(ValueError, match="use LoRA instead"):
        make_trainer(tmp_path, prompts, model=model)


def test_fine_tuning_on_thoughts_refuses_them_too(tmp_path: Path, tokenizer: Any) -> None:
    rows = Dataset.from_dict({"prompt": ["Hi"], "completion": ["</think>!"], "thought_ids": [[[5, 6]]]})
    config = MoTSFTConfig(str(tmp_path), use_cpu=True, bf16=False, report_to=[])

    with pytest.raises(ValueError, match="use LoRA instead"):
        MoTSFTTrainer(
            make_model(),
            config,
            train_dataset=rows,
            processing_class=tokenizer,
            peft_config=prompt_learning(PromptTuningConfig),
        )


def streamed(rows: list[dict[str, Any]]) -> IterableDataset:
    """Rows whose columns are unknown until one is read."""
    return IterableDataset.from_generator(lambda: iter(rows))


def make(folder: Path, **datasets: Any) -> MoTGRPOTrainer:
    return MoTGRPOTrainer(make_model(), letters, MoTGRPOConfig(**settings(folder)), **datasets)


@pytest.mark.parametrize(
    "of_rows", [streamed, Dataset.from_list, lambda rows: Dataset.from_list(rows).to_iterable_dataset()]
)
def test_data_without_a_prompt_is_named(of_rows: Any, tmp_path: Path, prompts: Dataset) -> None:
    rows = of_rows([{"text": "Hi", "answer": 1}])
    message = r"`{}` needs a column `prompt` .* and has \['text', 'answer'\]; use `rename_column`"

    with pytest.raises(ValueError, match=message.format("train_dataset")):
        make(tmp_path, train_dataset=rows)
    with pytest.raises(ValueError, match=message.format("eval_dataset")):
        make(tmp_path, train_dataset=prompts, eval_dataset=rows)
    with pytest.raises(ValueError, match=message.format("eval_dataset")):
        make(tmp_path, train_dataset=prompts, eval_dataset={"one": prompts, "other": rows})


def test_streams_without_rows_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`train_dataset` has no rows"):
        make(tmp_path, train_dataset=streamed([]))


def test_rewards_are_called_with_what_they_need(tmp_path: Path, prompts: Dataset) -> None:
    def without_more(completions: list) -> list[float]:
        return []

    for reward, message in (
        (without_more, r"must take `\*\*kwargs`"),
        (gsm8k.correct_answer, r"columns \['answer'\]"),
    ):
        with pytest.raises(ValueError, match=message):
            MoTGRPOTrainer(make_model(), [letters, reward], MoTGRPOConfig(**settings(tmp_path)), prompts)


def test_images_are_for_models_that_see(tmp_path: Path, prompts: Dataset) -> None:
    with pytest.raises(ValueError, match="has images, and the model reads text alone"):
        make(tmp_path, train_dataset=prompts.add_column("image", [None] * 8), processing_class=make_tokenizer())


@pytest.mark.parametrize("strategy", [object(), "dirichlet", Dirichlet])
def test_a_strategy_without_a_draw_is_refused(strategy: Any, tmp_path: Path, prompts: Dataset) -> None:
    with pytest.raises(TypeError, match=r"A strategy is an object|is no strategy, for it lacks draw, log_prob, exact"):
        make(tmp_path, train_dataset=prompts, strategy=strategy)


@pytest.mark.slow
def test_streamed_prompts_train(tmp_path: Path, prompts: Dataset) -> None:
    trainer = make(tmp_path, train_dataset=streamed(list(prompts)), processing_class=make_tokenizer())

    trainer.train()

    assert trainer.state.global_step == 2


@pytest.mark.parametrize("arm", [{}, {"normal_generation": True}], ids=["mixtures", "normal"])
@pytest.mark.parametrize("kind", [KeyError, KeyboardInterrupt])
def test_a_rewards_exception_arrives_as_it_was_raised(
    kind: Any, arm: dict[str, Any], tmp_path: Path, prompts: Dataset
) -> None:
    raised = kind("prompt")

    def failing(**_: object) -> list[float]:
        raise raised

    config = MoTGRPOConfig(**settings(tmp_path, trace_steps=0, **arm))
    trainer = MoTGRPOTrainer(make_model(), failing, config, train_dataset=prompts, processing_class=make_tokenizer())

    with pytest.raises(kind) as caught:
        trainer._generate_and_score_completions([prompts[0]] * 4)
    assert caught.value is raised
    assert not hasattr(raised, "__notes__")
    assert raised.__cause__ is None
    assert raised.args == ("prompt",)


@pytest.mark.parametrize(
    ("name", "value"),
    [("num_beams", 4), ("num_return_sequences", 2), ("stop_strings", ["a"]), ("dola_layers", "low")],
)
def test_a_models_own_generation_config_is_checked_before_the_first_rollout(
    name: str, value: Any, tmp_path: Path, prompts: Dataset
) -> None:
    model = make_model()
    setattr(model.generation_config, name, value)

    with pytest.raises(ValueError, match=rf"`{name}=.*model's own generation config"):
        make_trainer(tmp_path, prompts, model=model)
    if name == "num_beams":
        assert make_trainer(tmp_path, prompts, model=model, generation_kwargs={"num_beams": 1})
