"""The command line of every recipe."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_model, make_tokenizer, shared
from datasets import Dataset
from safetensors.torch import load_file

from mot_trl import MoTGRPOTrainer
from mot_trl.generation.config import DecoderConfig
from mot_trl.tasks import gsm8k
from mot_trl.traces.learning_curves import read_log
from mot_trl.trainer import script_utils as training

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
ON_CPU = ["--use_cpu", "--bf16", "false", "--report_to", "none"]


def load_recipe(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, RECIPES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parse(name: str, *flags: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    recipe = load_recipe(name)
    monkeypatch.setattr(sys, "argv", [name, *ON_CPU, *flags])
    return training.parse(recipe.DEFAULTS)


@pytest.mark.parametrize("name", ["gsm8k", "math500"])
def test_four_flags_work_on_every_recipe(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ["--experiment_name", "dirichlet", "--mixture_k", "4", "--loss_on_all_tokens", "--normal_generation"]

    config, model, data = parse(name, *flags, monkeypatch=monkeypatch)

    assert (config.strategy, config.mixture_k, config.mixture_score) == ("dirichlet", 4, "expected")
    assert config.normal_generation
    assert model.model_name_or_path == "Qwen/Qwen2.5-1.5B-Instruct"
    assert data.data_path is None


def test_the_gsm8k_recipe_has_the_papers_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    config, _, _ = parse("gsm8k", monkeypatch=monkeypatch)

    assert (config.temperature, config.num_generations, config.learning_rate) == (0.9, 10, 5e-6)
    assert (config.mixture_k, config.max_completion_length) == (2, 1024)
    assert config.optim.value.startswith("adamw")


def test_options_of_a_strategy_come_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ["--strategy", "dirichlet", "--strategy_kwargs", '{"concentration": 4.0}']

    config, _, _ = parse("gsm8k", *flags, monkeypatch=monkeypatch)

    assert config.strategy_options == {"concentration": 4.0, "k": 2}


@pytest.mark.parametrize(
    ("recipe", "flags", "decoder"),
    [
        ("gsm8k", ["--strategy", "multiplex"], DecoderConfig("multiplex", {"k": 3})),
        ("gsm8k", ["--strategy", "top_k"], DecoderConfig("top_k", {"k": 2})),
        ("gsm8k", ["--mixture_k", "4"], DecoderConfig("top_k", {"k": 4}, "visible")),
        (
            "gsm8k",
            ["--experiment_name", "dirichlet", "--strategy_kwargs", '{"k": 3}'],
            DecoderConfig("dirichlet", {"k": 3, "concentration": 1.0, "min_prob": 0.0}, "visible"),
        ),
        ("quickstart", ["--strategy", "multiplex"], DecoderConfig("multiplex", {"k": 3})),
        ("quickstart", ["--strategy", "dirichlet"], DecoderConfig("dirichlet", {"k": 2})),
        ("quickstart", ["--experiment_name", "dirichlet_exact"], DecoderConfig("polya_urn", {"k": 3})),
        (
            "quickstart",
            ["--strategy_kwargs", '{"visible": "drawn"}', "--loss_on_all_tokens"],
            DecoderConfig(
                "dirichlet", {"k": 8, "min_prob": 0.02, "concentration": 100.0, "visible": "drawn"}, "expected"
            ),
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_flags_override_a_recipes_decoder_by_the_rule_of_presets(
    recipe: str, flags: list[str], decoder: DecoderConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, _, _ = parse(recipe, *flags, "--max_mixture_tokens", "0", monkeypatch=monkeypatch)

    assert config.decoder.complete() == decoder.complete()


@pytest.mark.parametrize(
    ("flags", "budget"),
    [
        ([], 768),
        (["--max_completion_length", "100"], 75),
        (["--max_completion_length", "20"], None),
        (["--max_mixture_tokens", "40"], 40),
        (["--max_mixture_tokens", "0"], None),
    ],
)
def test_recipes_have_a_thinking_budget(flags: list[str], budget: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    config, _, _ = parse("gsm8k", *flags, monkeypatch=monkeypatch)

    assert config.decoder.max_mixture_tokens == budget


@pytest.mark.parametrize(
    ("flags", "decoder"),
    [
        ([], DecoderConfig("gumbel_softmax", {"k": 4, "temperature": 0.1}, "visible", max_mixture_tokens=9)),
        (
            ["--strategy_kwargs", '{"min_ratio": 0.2}'],
            DecoderConfig(
                "gumbel_softmax", {"k": 4, "temperature": 0.1, "min_ratio": 0.2}, "visible", max_mixture_tokens=9
            ),
        ),
        (["--strategy", "dirichlet"], DecoderConfig("dirichlet", {"k": 2}, max_mixture_tokens=9)),
        (["--experiment_name", "top_k"], DecoderConfig("top_k", {"k": 2}, "visible", max_mixture_tokens=9)),
    ],
    ids=["file", "option", "strategy", "preset"],
)
def test_flags_override_a_file_and_a_file_the_recipe(
    flags: list[str], decoder: DecoderConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run.yaml").write_text(
        "strategy: gumbel_softmax\nmixture_k: 4\nstrategy_kwargs: {temperature: 0.1}\nmixture_score: visible\n"
        "max_mixture_tokens: 9\nlearning_rate: 0.5\n"
    )

    config, _, _ = parse("gsm8k", "--config", str(tmp_path / "run.yaml"), *flags, monkeypatch=monkeypatch)

    assert config.decoder == decoder
    assert config.learning_rate == 0.5


def test_a_preset_of_which_nothing_is_left_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    changed, _, _ = parse("gsm8k", "--strategy", "top_k", monkeypatch=monkeypatch)
    kept, _, _ = parse("gsm8k", "--mixture_k", "3", monkeypatch=monkeypatch)

    assert (changed.experiment_name, kept.experiment_name) == (None, "top_k")


def test_recipes_evaluate_now_and_then_and_each_question_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gsm8k", "math500", "mbpp", "leetcode", "reasoning_gym", "vlm_counting", "quickstart"):
        config, _, _ = parse(name, "--eval_strategy", "steps", monkeypatch=monkeypatch)

        assert config.eval_steps >= 20, name
        assert config.num_generations_eval == 1, name


def test_a_machine_without_bfloat16_trains_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mot_trl.trainer.config.is_torch_bf16_gpu_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gsm8k", "--report_to", "none"])

    config, _, _ = training.parse(load_recipe("gsm8k").DEFAULTS)

    assert not config.bf16


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator")
def test_a_machine_without_accelerator_trains_on_its_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["gsm8k", "--report_to", "none"])

    config, _, _ = training.parse(load_recipe("gsm8k").DEFAULTS)

    assert config.use_cpu


@pytest.mark.parametrize("name", ["strategy_kwargs", "model_init_kwargs", "lr_scheduler_kwargs"])
def test_broken_json_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"`{name}` .*JSON.*'{{\"k\": 3'"):
        parse("gsm8k", f"--{name}", '{"k": 3', monkeypatch=monkeypatch)


def test_a_default_that_no_setting_takes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["recipe", *ON_CPU])

    with pytest.raises(ValueError, match=r"--learning_rat 0\.1"):
        training.parse({"learning_rat": 0.1})


@pytest.mark.parametrize("target", ["q_proj", ".*q_proj"], ids=["name", "pattern"])
def test_a_single_module_can_be_adapted(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model().save_pretrained(tmp_path / "model")
    make_tokenizer().save_pretrained(tmp_path / "model")
    flags = [
        *("--model_name_or_path", str(tmp_path / "model"), "--data_path", str(gsm8k.FIXTURE)),
        *("--output_dir", str(tmp_path / "run"), "--max_steps", "1", "--num_generations", "4"),
        *("--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "1"),
        *("--max_completion_length", "8", "--log_completions", "false"),
        *("--use_peft", "--lora_target_modules", target),
    ]

    load_recipe("gsm8k").main(*parse("gsm8k", *flags, monkeypatch=monkeypatch))

    adapted = load_file(tmp_path / "run" / "adapter_model.safetensors")
    assert adapted
    assert all("q_proj" in name for name in adapted)
    card = (tmp_path / "run" / "README.md").read_text()
    assert f"It needs torch, transformers, peft and the base model {tmp_path / 'model'} only" in card


@pytest.mark.slow
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_the_gsm8k_recipe_trains_on_real_questions(
    lora: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model().save_pretrained(tmp_path / "model")
    make_tokenizer().save_pretrained(tmp_path / "model")
    flags = [
        *("--model_name_or_path", str(tmp_path / "model"), "--data_path", str(shared("data", "gsm8k"))),
        *("--output_dir", str(tmp_path / "run"), "--max_steps", "2", "--num_generations", "4"),
        *("--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "1"),
        *("--max_completion_length", "12", "--log_completions", "false"),
        *(("--use_peft", "--lora_target_modules", "all-linear") if lora else ()),
    ]
    recipe = load_recipe("gsm8k")

    recipe.main(*parse("gsm8k", *flags, monkeypatch=monkeypatch))

    assert (tmp_path / "run" / ("adapter_model.safetensors" if lora else "model.safetensors")).exists()


@pytest.mark.slow
def test_the_math500_recipe_trains_on_real_problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model().save_pretrained(tmp_path / "model")
    make_tokenizer().save_pretrained(tmp_path / "model")
    problems = shared("data", "math500", "test.jsonl").read_text().splitlines()[:8]
    (tmp_path / "train.jsonl").write_text("\n".join(problems))
    flags = [
        *("--model_name_or_path", str(tmp_path / "model"), "--data_path", str(tmp_path)),
        *("--output_dir", str(tmp_path / "run"), "--max_steps", "2", "--num_generations", "4"),
        *("--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "1"),
        *("--max_completion_length", "12", "--log_completions", "false"),
    ]
    recipe = load_recipe("math500")

    recipe.main(*parse("math500", *flags, monkeypatch=monkeypatch))

    assert (tmp_path / "run" / "model.safetensors").exists()
    assert (tmp_path / "run" / "trainer_state.json").exists()
    assert read_log(tmp_path / "run")["reward"].notna().any()


def test_a_data_path_that_does_not_exist_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe("gsm8k")

    with pytest.raises(FileNotFoundError, match="nowhere"):
        recipe.main(*parse("gsm8k", "--data_path", str(tmp_path / "nowhere"), monkeypatch=monkeypatch))


@pytest.mark.skipif(torch.cuda.is_available(), reason="quantises where there is a GPU")
def test_quantised_training_is_refused_without_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, model, _ = parse("gsm8k", "--load_in_4bit", "--output_dir", str(tmp_path), monkeypatch=monkeypatch)

    with pytest.raises(ValueError, match=r"need bitsandbytes and a CUDA GPU.*leave them out to"):
        training.train(config, model, train_dataset=Dataset.from_dict({"prompt": ["a"]}), reward_funcs=[])


def test_a_recipe_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model().save_pretrained(tmp_path / "model")
    make_tokenizer().save_pretrained(tmp_path / "model")
    flags = [
        *("--model_name_or_path", str(tmp_path / "model"), "--data_path", str(gsm8k.FIXTURE)),
        *("--output_dir", str(tmp_path / "run"), "--num_generations", "4", "--per_device_train_batch_size", "4"),
        *("--gradient_accumulation_steps", "1", "--max_completion_length", "8", "--log_completions", "false"),
        *("--save_steps", "1", "--resume_from_checkpoint", "latest"),
    ]
    recipe, resumed = load_recipe("gsm8k"), []
    inner_training_loop = MoTGRPOTrainer._inner_training_loop

    def watched(self: Any, *args: Any, resume_from_checkpoint: str | None, **kwargs: Any) -> Any:
        resumed.append(resume_from_checkpoint)
        return inner_training_loop(self, *args, resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    monkeypatch.setattr(MoTGRPOTrainer, "_inner_training_loop", watched)

    for steps in ("1", "2"):
        recipe.main(*parse("gsm8k", *flags, "--max_steps", steps, monkeypatch=monkeypatch))

    assert resumed == [None, str(tmp_path / "run" / "checkpoint-1")]


def test_a_recipe_with_a_model_of_its_own_refuses_another(monkeypatch: pytest.MonkeyPatch) -> None:
    given = parse("quickstart", "--model_name_or_path", "Qwen/Qwen3-0.6B", "--use_peft", monkeypatch=monkeypatch)

    with pytest.raises(ValueError, match=r"leave out --model_name_or_path, --use_peft"):
        load_recipe("quickstart").main(*given)


def test_a_recipe_with_a_model_of_its_own_takes_no_flags_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    config, model, _ = parse("quickstart", monkeypatch=monkeypatch)

    training.check_no_model_flags(model)

    assert config.num_generations == 8
