"""What continuous batching relies on in transformers and TRL is there; a failure names the seam that moved."""

from typing import Any

import pytest
from seams import check_fields, check_parameters, check_source
from transformers.generation.continuous_batching.model_runner import ModelRunner

BATCHING = "transformers.generation.continuous_batching"

PARAMETERS = {
    f"{BATCHING}.continuous_api:ContinuousBatchingManager.__init__": [
        "model",
        "generation_config",
        "continuous_batching_config",
        "workload_hints",
    ],
    f"{BATCHING}.continuous_api:ContinuousBatchingManager._create_batch_processor": [],
    f"{BATCHING}.continuous_api:ContinuousMixin.generate_batch": ["inputs", "generation_config"],
    f"{BATCHING}.model_runner:ModelRunner.compute_batch": ["model", "batch_data"],
    f"{BATCHING}.model_runner:ModelRunner._sample": ["scores", "output_ids"],
}

FIELDS = {
    f"{BATCHING}.requests:RequestState": [
        "request_id",
        "initial_tokens",
        "max_new_tokens",
        "eos_token_id",
        "position_offset",
    ],
    f"{BATCHING}.requests:GenerationOutput": ["generated_tokens", "error"],
    f"{BATCHING}.utils:WorkloadHints": ["max_prompt_length", "max_generated_length", "num_requests"],
    "transformers.generation:ContinuousBatchingConfig": [
        "use_cuda_graph",
        "use_async_batching",
        "allow_block_sharing",
        "varlen_compile_config",
        "decode_compile_config",
        "default_compile_level",
        "seed",
    ],
}

# Source that must be in a function: how it calls us, or uses what we set.
SOURCE = {
    f"{BATCHING}.continuous_api:ContinuousMixin.generate_batch": [
        "self.continuous_batching_context_manager(",
        "workload_hints=workload_hints",
    ],
    f"{BATCHING}.continuous_api:ContinuousMixin.continuous_batching_context_manager": [
        "self.init_continuous_batching(generation_config=generation_config, "
        "continuous_batching_config=continuous_batching_config, workload_hints=workload_hints)"
    ],
    f"{BATCHING}.continuous_api:ContinuousBatchProcessor._generation_step": [
        "self.model_runner.compute_batch(model, batch_data)"
    ],
    f"{BATCHING}.model_runner:ModelRunner._forward_process_and_sample": ["self._sample(scores, output_ids)"],
    # A request has been read up to its new position before the model runs, and comes back under its own name.
    f"{BATCHING}.input_outputs:ContinuousBatchingIOs.prepare_batch_tensors": ["state.position_offset += query_length"],
    f"{BATCHING}.requests:RequestState.create_equivalent_initial_request": ["request_id=self.request_id"],
    "trl:GRPOTrainer._generate_single_turn": [
        "unwrapped_model.generate_batch(prompt_ids, generation_config=self.generation_config",
        "[output.generated_tokens for output in all_outputs.values()]",
    ],
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_method_takes_what_it_did(name: str) -> None:
    check_parameters(name, PARAMETERS[name])


@pytest.mark.parametrize("name", FIELDS)
def test_a_class_has_the_fields_it_had(name: str) -> None:
    check_fields(name, FIELDS[name])


@pytest.mark.parametrize("name", SOURCE)
def test_a_function_does_what_it_did(name: str) -> None:
    check_source(name, SOURCE[name])


def test_a_seam_that_moved_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def moved(self: Any, scores: Any) -> Any: ...

    monkeypatch.setattr(ModelRunner, "_sample", moved)
    monkeypatch.delattr(ModelRunner, "compute_batch")

    with pytest.raises(AssertionError, match=r"seam moved: .*ModelRunner._sample now takes"):
        check_parameters(f"{BATCHING}.model_runner:ModelRunner._sample", ["scores", "output_ids"])
    with pytest.raises(AssertionError, match=r"seam moved: .*compute_batch is gone"):
        check_parameters(f"{BATCHING}.model_runner:ModelRunner.compute_batch", ["model"])
