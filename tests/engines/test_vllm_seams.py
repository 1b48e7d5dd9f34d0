"""What the plug-in relies on in vLLM and TRL is there; a failure names the seam that moved."""

from typing import Any

import pytest
from seams import check_fields, check_parameters, check_source, look_up
from vllm_engines import needs_vllm

pytestmark = needs_vllm

# Parameters that our overrides take, or that we pass, in order; those after them may change.
PARAMETERS = {
    "vllm.v1.worker.gpu.model_states.default:DefaultModelState.__init__": ["vllm_config", "model"],
    "vllm.v1.worker.gpu.model_states.default:DefaultModelState.add_request": ["req_index", "new_req_data"],
    "vllm.v1.worker.gpu.model_states.default:DefaultModelState.remove_request": ["req_id"],
    "vllm.v1.worker.gpu.model_states.default:DefaultModelState.prepare_inputs": ["input_batch", "req_states"],
    "vllm.v1.worker.gpu.model_states.default:DefaultModelState.prepare_dummy_inputs": ["num_reqs", "num_tokens"],
    "vllm.v1.worker.gpu.model_states.default:DefaultModelState.custom_sampler": ["sampler"],
    "vllm.v1.worker.gpu.sample.sampler:Sampler.__call__": ["logits", "input_batch"],
    "vllm.v1.worker.gpu.sample.sampler:Sampler.get_logprobs_dims": ["idx_mapping_np"],
    "vllm.v1.worker.gpu.sample.sampler:Sampler.sample": [
        "logits",
        "expanded_idx_mapping",
        "idx_mapping",
        "idx_mapping_np",
        "pos",
        "input_ids",
        "expanded_local_pos",
        "return_logprobs",
    ],
    "vllm.v1.worker.gpu.sample.sampler:Sampler.apply_sampling_params": [
        "logits",
        "expanded_idx_mapping",
        "idx_mapping",
        "idx_mapping_np",
        "pos",
        "input_ids",
        "expanded_local_pos",
    ],
    "vllm.v1.worker.gpu.sample.states:SamplingStates.max_num_logprobs": ["idx_mapping_np"],
    "vllm.v1.core.sched.async_scheduler:AsyncScheduler.add_request": ["request"],
    "vllm.utils.torch_utils:async_tensor_h2d": ["data", "device"],
    "vllm:ModelRegistry.register_model": ["model_arch", "model_cls"],
    "vllm:LLM.collective_rpc": ["method", "timeout", "args"],
    "vllm:LLM.generate": ["prompts", "sampling_params"],
    "vllm.v1.engine.async_llm:AsyncLLM.generate": ["prompt", "sampling_params", "request_id"],
    "vllm.v1.engine.async_llm:AsyncLLM.collective_rpc": ["method"],
    "trl.generation.vllm_client:VLLMClient._post": ["url", "kwargs"],
    "trl.generation.vllm_client:VLLMClient.generate": ["prompts", "features"],
}

FIELDS = {
    "vllm.v1.worker.gpu.input_batch:InputBatch": [
        "num_tokens",
        "num_tokens_after_padding",
        "idx_mapping_np",
        "num_computed_tokens_np",
        "num_scheduled_tokens",
        "query_start_loc_np",
        "input_ids",
        "positions",
    ],
    "vllm.v1.core.sched.output:NewRequestData": ["req_id", "sampling_params", "prefill_token_ids"],
    "vllm.logprobs:FlatLogprobs": ["token_ids", "logprobs", "ranks"],
    "vllm.outputs:CompletionOutput": ["token_ids", "logprobs"],
}

# Source that must be in a function: how it calls us, or uses what we set.
SOURCE = {
    "vllm.v1.worker.gpu.model_states:resolve_model_state_cls": ["model.get_model_state_cls()"],
    "vllm.v1.worker.gpu.model_runner:GPUModelRunner.load_model": ["self.model_state.custom_sampler(self.sampler)"],
    "vllm.v1.worker.gpu.model_runner:GPUModelRunner._remove_request": ["self.model_state.remove_request(req_id)"],
    "vllm.v1.worker.gpu.model_runner:GPUModelRunner.finish_requests": ["finished_req_ids", "preempted_req_ids"],
    "vllm.v1.worker.gpu.model_runner:GPUModelRunner.add_requests": [
        "self.model_state.add_request(req_index, new_req_data)"
    ],
    "vllm.v1.worker.gpu.model_runner:GPUModelRunner.execute_model": [
        "**self.model_state.prepare_inputs(input_batch, self.req_states)"
    ],
    "vllm.v1.worker.gpu.model_runner:GPUModelRunner.sample": ["self.sampler(logits, input_batch)"],
    "vllm.v1.worker.gpu.sample.sampler:Sampler.__call__": ["self.sample(", "self.get_logprobs_dims(idx_mapping_np)"],
    "vllm.v1.request:Request.update_block_hashes": ["self.block_hashes.extend(self._block_hasher(self))"],
    "vllm.v1.core.sched.scheduler:Scheduler._preempt_request": ["self.waiting.prepend_request(request)"],
    "vllm.entrypoints.serve.middleware.register:init_entrypoints_middleware": ["app.add_middleware(imported)"],
    "vllm.entrypoints.openai.completion.protocol:CompletionRequest.to_sampling_params": [
        "extra_args: dict[str, Any] = self.vllm_xargs",
        "else RequestOutputKind.FINAL_ONLY",
    ],
    "vllm.entrypoints.openai.completion.serving:OpenAIServingCompletion._create_completion": [
        "self.engine_client.generate("
    ],
    "starlette.applications:Starlette.__call__": ["scope['app'] = self", "await self.middleware_stack(scope"],
    "trl.generation.vllm_generation:VLLMGeneration._init_vllm": [
        "self.llm = LLM(",
        "model=model.name_or_path",
        "self.vllm_client = VLLMClient(base_url=",
    ],
    "trl.generation.vllm_generation:VLLMGeneration.generate": [
        "self.llm.generate(vllm_prompts, sampling_params=sampling_params, use_tqdm=False)",
        "extract_logprobs(all_outputs)",
        "output.get('logprob_token_ids')",
        "all_logprob_token_ids[process_slice]",
        "return (prompt_ids, completion_ids, logprobs, logprob_token_ids)",
    ],
    "trl.generation.vllm_client:VLLMClient.generate": [
        "sampling_params.update(generation_kwargs or {})",
        "self._post(f'{self.base_url}/v1/completions', json=payload)",
    ],
    "trl.generation.vllm_generation:extract_logprobs": ["math.isnan(item.logprob)", "lp.items()"],
    "trl:GRPOTrainer._generate_single_turn": ["self.vllm_generation.generate("],
    "trl:GRPOTrainer._generate_and_score_completions": [
        "torch.nan_to_num(per_token_logps_diff, nan=0.0)",
        'output["sampling_per_token_logps"]',
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
    from vllm.v1.worker.gpu.sample.sampler import Sampler

    def moved(self: Any, logits: Any, batch: Any) -> Any: ...

    monkeypatch.setattr(Sampler, "sample", moved)
    monkeypatch.delattr(Sampler, "get_logprobs_dims")

    with pytest.raises(AssertionError, match=r"seam moved: .*Sampler.sample now takes"):
        test_a_method_takes_what_it_did("vllm.v1.worker.gpu.sample.sampler:Sampler.sample")
    with pytest.raises(AssertionError, match=r"seam moved: .*get_logprobs_dims is gone"):
        test_a_method_takes_what_it_did("vllm.v1.worker.gpu.sample.sampler:Sampler.get_logprobs_dims")


def test_records_fit_into_what_log_probabilities_travel_in() -> None:
    tensors = look_up("vllm.v1.outputs:LogprobsTensors")

    assert tensors._fields[:3] == ("logprob_token_ids", "logprobs", "selected_token_ranks"), "seam moved"
    assert {"stop_token_ids", "flat_logprobs", "detokenize", "logprobs"} <= set(
        look_up("vllm:SamplingParams").__struct_fields__
    )
    assert isinstance(look_up("vllm:SamplingParams").eos_token_id, property), "seam moved: SamplingParams.eos_token_id"
