"""What the library relies on in TRL and transformers is there; a failure names the seam that moved.

Each override has a row: the parameters that the installed method takes, and the methods from which it must be called.
A call is compared by what is passed, since overrides read positions and keys of it.
"""

import ast
import importlib
import inspect
import textwrap
from typing import Any, NamedTuple

import pytest
import torch
from transformers import GenerationMixin, Trainer
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from trl import GRPOTrainer, SFTTrainer
from trl.trainer import utils as trl_utils

from mot_trl import MoTGRPOTrainer, MoTSFTTrainer
from mot_trl.trainer.ratios import CLIPPED_LOSSES


class Override(NamedTuple):
    """A method of TRL's or transformers' that the trainer overrides.

    Attributes:
        parameters: Names that the override relies on, in order; those after them may change.
        calls: For each method that must call it, the arguments it passes, as source; `...` stands for any others.
    """

    parameters: list[str]
    calls: dict[str, list[str]] = {}  # noqa: RUF012


OVERRIDES = {
    "train": Override(["resume_from_checkpoint"]),
    "end": Override([]),
    "create_accelerator_and_postprocess": Override([], {"__init__": [""]}),
    "training_step": Override(["model", "inputs", "num_items_in_batch"]),
    "create_model_card": Override(["model_name"], {"_save_checkpoint": ["model_name=model_name"]}),
    "_generate_single_turn": Override(
        ["prompt_ids", "images", "multimodal_fields", "num_generations"],
        {
            "_generate": ["prompt_ids, images, multimodal_fields, num_generations"],
            "_tool_call_loop": ["prompt_completion_tool_ids, loop_images, loop_multimodal_fields, ..."],
        },
    ),
    "_tool_call_loop": Override(
        ["prompts", "prompt_ids", "completion_ids"],
        {"_generate": ["prompts, prompt_ids, completion_ids, completions, ..."]},
    ),
    "_generate_and_score_completions": Override(["inputs"], {"_prepare_inputs": ["generation_batch"]}),
    "_calculate_rewards": Override(
        ["inputs", "prompts", "completions", "completion_ids_list"],
        {"_generate_and_score_completions": ["inputs, prompts, completions, completion_ids_list"]},
    ),
    "_compute_loss": Override(["model", "inputs"], {"compute_loss": ["model, inputs"]}),
    "_get_per_token_logps_and_entropies": Override(
        ["model", "input_ids", "attention_mask", "logits_to_keep"],
        {
            "_compute_loss": ["model, input_ids, attention_mask, logits_to_keep, compute_entropy=True, ..."],
            # The old log-probs, those of a reference model, and those of a policy whose adapter is off.
            "_generate_and_score_completions": [
                "self.model, prompt_completion_ids, attention_mask, logits_to_keep, ...",
                "self.ref_model, prompt_completion_ids, attention_mask, logits_to_keep, ...",
                "self.model, prompt_completion_ids, attention_mask, logits_to_keep, ...",
            ],
        },
    ),
    "prediction_step": Override(["model", "inputs", "prediction_loss_only"]),
    "_save_checkpoint": Override(["model", "trial"]),
    "_save": Override(["output_dir"], {"save_model": ["output_dir, ...", "output_dir"]}),
    "_save_rng_state": Override(["output_dir"], {"_save_checkpoint": ["output_dir"]}),
    "_load_rng_state": Override(["checkpoint"]),
    "_init_training_state": Override([]),
    "_run_epoch": Override([]),
    "_get_train_sampler": Override(["dataset"]),
}

if not hasattr(Trainer, "end"):
    del OVERRIDES["end"]  # transformers below 5.20 has no such method to override


SFT_OVERRIDES = {
    "_prepare_dataset": (
        ["dataset", "processing_class", "args", "packing", "formatting_func", "dataset_name"],
        "__init__",
        "train_dataset, processing_class, args, args.packing, formatting_func, 'train'",
    ),
    "compute_loss": (
        ["model", "inputs", "return_outputs", "num_items_in_batch"],
        "prediction_step",
        "model, inputs, return_outputs=False",
    ),
}


def own_methods() -> set[str]:
    """Methods of TRL's trainer that ours overrides."""
    ours = MoTGRPOTrainer.__mro__[: MoTGRPOTrainer.__mro__.index(GRPOTrainer)]
    return {name for kind in ours for name, value in vars(kind).items() if callable(value)} & set(dir(GRPOTrainer))


def source_tree(method: Any) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(method))))


def defined(name: str, trainer: type = GRPOTrainer) -> list[Any]:
    """Every definition of a method along TRL's trainer's bases."""
    return [vars(kind)[name] for kind in trainer.__mro__ if inspect.isfunction(vars(kind).get(name))]


def calls_of(name: str, caller: str, trainer: type = GRPOTrainer) -> list[str]:
    """Arguments of the calls `self.<name>(...)` in the definitions of a method, as source."""
    found = []
    for method in defined(caller, trainer):
        for node in ast.walk(source_tree(method)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == f"self.{name}":
                found.append(", ".join(map(ast.unparse, [*node.args, *node.keywords])))
    return found


def matches(passed: str, expected: str) -> bool:
    start, rest, _ = expected.partition(", ...")
    return passed == start or (bool(rest) and passed.startswith(f"{start}, "))


def test_every_override_is_a_known_seam() -> None:
    assert own_methods() - {"__init__"} == set(OVERRIDES)


@pytest.mark.parametrize("name", OVERRIDES)
def test_an_overridden_method_takes_what_it_did(name: str) -> None:
    parameters = [each for each in inspect.signature(getattr(GRPOTrainer, name)).parameters if each != "self"]

    expected = OVERRIDES[name].parameters
    assert parameters[: len(expected)] == expected, f"seam moved: {name} now takes {parameters}"


def test_a_method_that_moved_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def moved(self: Any, inputs: Any, model: Any) -> Any: ...

    monkeypatch.setattr(GRPOTrainer, "_compute_loss", moved)

    with pytest.raises(AssertionError, match="seam moved: _compute_loss now takes"):
        test_an_overridden_method_takes_what_it_did("_compute_loss")
    with pytest.raises(AssertionError, match="seam moved: _compute_loss calls _get_per_token_logps_and_entropies"):
        test_an_overridden_method_is_called_as_it_was("_get_per_token_logps_and_entropies", "_compute_loss")


@pytest.mark.parametrize(
    ("name", "caller"), [(name, caller) for name, seam in OVERRIDES.items() for caller in seam.calls]
)
def test_an_overridden_method_is_called_as_it_was(name: str, caller: str) -> None:
    passed = calls_of(name, caller)

    for expected in OVERRIDES[name].calls[caller]:
        assert any(matches(each, expected) for each in passed), f"seam moved: {caller} calls {name} with {passed}"


@pytest.mark.parametrize("name", SFT_OVERRIDES)
def test_fine_tunings_overrides_are_called_as_they_were(name: str) -> None:
    parameters, caller, call = SFT_OVERRIDES[name]
    own = {each for each, value in vars(MoTSFTTrainer).items() if callable(value)} & set(dir(SFTTrainer))
    taken = [each for each in inspect.signature(getattr(SFTTrainer, name)).parameters if each != "self"]
    passed = calls_of(name, caller, SFTTrainer)

    assert own - {"__init__"} == set(SFT_OVERRIDES)
    assert taken == parameters, f"seam moved: {name} now takes {taken}"
    assert call in passed, f"seam moved: {caller} calls {name} with {passed}"


def test_the_loop_of_tool_calls_continues_conversations_by_adding_tokens() -> None:
    loop = ast.unparse(source_tree(GRPOTrainer._tool_call_loop))

    # The tokens of a prompt carry the number of their row through these sums.
    added = "prompt_ids[idx_with_tool] + completion_ids[idx_with_tool] + suffix_ids"
    assert added in loop, "seam moved: prompts of later turns are made otherwise"
    returned = "return (tool_mask, completions, completion_ids, "
    assert returned in loop, "seam moved: the loop returns something else"


def test_a_function_for_rollouts_is_asked_as_it_was() -> None:
    source = ast.unparse(source_tree(GRPOTrainer._generate))

    parts = ["self.rollout_func(prompts, self)", "{'prompt_ids', 'completion_ids', 'logprobs'}", "'env_mask'"]
    missing = [part for part in parts if part not in source]
    assert not missing, f"seam moved: _generate has no {missing}"


def test_fine_tuning_reads_what_its_loss_relies_on() -> None:
    source = inspect.getsource(SFTTrainer.compute_loss)

    for part in ("fused_lm_head=True", "-outputs.log_probs", "outputs.label_mask", "outputs.is_top1"):
        assert part in source, f"seam moved: compute_loss has no {part}"


def test_old_log_probs_alone_are_asked_without_entropies() -> None:
    # `_replay_is_redundant` tells this call by the missing `compute_entropy` and by the policy as the model.
    calls = calls_of("_get_per_token_logps_and_entropies", "_generate_and_score_completions")

    assert not any("compute_entropy" in call for call in calls), f"seam moved: {calls}"


@pytest.mark.parametrize(
    ("method", "attributes"),
    [
        ("_generate_and_score_completions", ["self._tokenizer", "self._logs"]),
        ("_prepare_inputs", ["self._buffered_inputs", "self._step", "self.num_iterations"]),
        ("_calculate_rewards", ["self.reward_funcs", "self.reward_func_names"]),
        (
            "_compute_loss",
            ["self._metrics", "self.beta", "self.top_entropy_quantile", "self.importance_sampling_level"],
        ),
        ("_compute_loss", ["self.loss_type", "self.epsilon_low", "self.epsilon_high"]),
        ("_generate_single_turn", ["self.generation_config", "self.eos_token_ids"]),
    ],
)
def test_attributes_that_are_read_are_still_used_there(method: str, attributes: list[str]) -> None:
    used = {ast.unparse(node) for node in ast.walk(source_tree(getattr(GRPOTrainer, method))) if _is_attribute(node)}

    assert set(attributes) <= used, f"seam moved: {method} no longer uses {set(attributes) - used}"


def _is_attribute(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)


@pytest.mark.parametrize(
    ("method", "keys"),
    [
        ("_compute_loss", ["tool_mask", "old_per_token_logps", "ref_per_token_logps", "completion_mask"]),
        ("_compute_loss", ["num_items_in_batch"]),
        ("_generate_and_score_completions", ["completion_ids", "completion_mask", "advantages", "num_items_in_batch"]),
    ],
)
def test_keys_of_a_batch_that_are_read_or_replaced_keep_their_names(method: str, keys: list[str]) -> None:
    strings = {node.value for node in ast.walk(source_tree(getattr(GRPOTrainer, method))) if _is_text(node)}

    assert set(keys) <= strings, f"seam moved: {method} no longer knows {set(keys) - strings}"


def test_the_kl_term_is_a_function_of_the_difference_to_the_reference() -> None:
    source = ast.unparse(source_tree(GRPOTrainer._compute_loss))
    difference = "ref_per_token_logps - per_token_logps"
    lines = [
        "self._get_per_token_logps_and_entropies(",
        "coef_1 = torch.exp(log_importance_weights)",
        "ref_per_token_logps = inputs['ref_per_token_logps']",
        f"per_token_kl = torch.exp({difference}) - ({difference}) - 1",
        "per_token_kl = per_token_kl * coef_1",
    ]

    assert all(line in source for line in lines), "seam moved: the KL term is computed otherwise"
    assert sorted(lines, key=source.index) == lines, "seam moved: the reference is read before the policy replays"


def test_the_losses_that_clip_are_those_that_are_watched() -> None:
    source = ast.unparse(source_tree(GRPOTrainer._compute_loss))

    clipped = f"self.loss_type in {list(CLIPPED_LOSSES)}:\n        coef_2 = torch.clamp(coef_1"
    assert clipped in source, "seam moved: other losses clip their ratios"


def test_old_log_probs_are_asked_before_those_of_the_reference() -> None:
    source = ast.unparse(source_tree(GRPOTrainer._generate_and_score_completions))

    places = [
        source.index(f"{name}, _, _ = self._get_per_token") for name in ("old_per_token_logps", "ref_per_token_logps")
    ]
    assert places == sorted(places), "seam moved: the reference is asked first"


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_rewards_that_are_nan_are_left_out_of_the_baseline() -> None:
    # Rows with NaN logits get NaN rewards, so TRL must take its means without them.
    source = inspect.getsource(GRPOTrainer._generate_and_score_completions)

    assert "nanmean" in source, "seam moved: the baseline is no longer a mean without NaN"


def test_checkpoints_are_written_in_the_order_that_resuming_needs() -> None:
    # The manifest is written with the random state, and the trainer's state marks the checkpoint as complete.
    (source,) = [
        inspect.getsource(each) for each in defined("_save_checkpoint") if each.__module__ == Trainer.__module__
    ]
    steps = ["self.save_model(", "self._save_optimizer_and_scheduler(", "self._save_rng_state(", "TRAINER_STATE_NAME"]

    places = [source.index(step) for step in steps]
    assert places == sorted(places), "seam moved: _save_checkpoint writes in another order"


def test_the_fused_head_is_asked_and_answers_as_it_did() -> None:
    head = inspect.signature(trl_utils.add_fused_lm_head).parameters
    outputs = inspect.signature(trl_utils.FusedCausalLMOutput).parameters

    assert {"temperature", "outputs"} <= set(head), f"seam moved: add_fused_lm_head takes {list(head)}"
    assert {"log_probs", "entropy", "aux_loss"} <= set(outputs), f"seam moved: its output has {list(outputs)}"
    assert callable(trl_utils.maybe_gather_lm_head_ctx)


def test_the_fused_head_keeps_the_forward_that_it_replaces_under_its_name() -> None:
    # A copy of the model must call its own.
    names = trl_utils.add_fused_lm_head.__code__.co_cellvars

    assert "original_forward" in names, f"seam moved: its closures hold {names}"


def test_the_gradient_of_an_embedding_bag_takes_what_it_did() -> None:
    arguments = [each.name for each in torch.ops.aten._embedding_bag_dense_backward.default._schema.arguments]

    expected = "grad indices offset2bag bag_size maximum_indices num_weights scale_grad_by_freq mode"
    assert arguments == [*expected.split(), "per_sample_weights", "padding_idx"], f"seam moved: it takes {arguments}"


def test_generate_takes_a_callable_and_calls_it_as_it_did() -> None:
    calls = [
        node
        for node in ast.walk(source_tree(GenerationMixin.generate))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "decoding_method"
    ]

    (call,) = calls
    passed = {keyword.arg for keyword in call.keywords}
    assert ast.unparse(call.args[0]) == "self", "seam moved: `generate` calls custom_generate otherwise"
    assert {"logits_processor", "stopping_criteria", "generation_config"} <= passed, f"seam moved: it passes {passed}"


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("transformers.dynamic_module_utils", ["get_relative_import_files", "get_cached_module_file"]),
        ("transformers.cache_utils", ["DynamicLayer", "DynamicSlidingWindowLayer", "LinearAttentionCacheLayerMixin"]),
        ("transformers.modeling_layers", ["GradientCheckpointingLayer"]),
        ("transformers.integrations.sdpa_attention", ["sdpa_attention_forward"]),
        ("transformers.integrations.deepspeed", ["is_deepspeed_zero3_enabled"]),
        ("transformers.trainer", ["TRAINER_STATE_NAME"]),
        ("peft.utils", ["TrainableTokensWrapper"]),
        ("trl.trainer.utils", ["get_config_model_id", "add_fused_lm_head"]),
    ],
)
def test_private_names_are_where_they_were(module: str, names: list[str]) -> None:
    missing = [name for name in names if not hasattr(importlib.import_module(module), name)]

    assert not missing, f"seam moved: {module} has no {missing}"


def test_a_cache_layer_takes_states_as_it_did() -> None:
    parameters = list(inspect.signature(DynamicLayer.update).parameters)

    assert parameters[:3] == ["self", "key_states", "value_states"], f"seam moved: update takes {parameters}"


def test_sdpa_calls_pytorchs_attention_with_the_caches_own_tensors() -> None:
    # Shared prompts recognize this very call; grouped heads reach it uncopied only where `pack_gqa` is.
    calls = [
        node
        for node in ast.walk(source_tree(sdpa_attention_forward))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("scaled_dot_product_attention")
    ]

    (call,) = calls
    assert [ast.unparse(each) for each in call.args] == ["query", "key", "value"], "seam moved: sdpa passes others"
