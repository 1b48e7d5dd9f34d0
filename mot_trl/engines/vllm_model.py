"""The worker's side of vLLM: a model state that feeds mixtures, and a sampler that draws them.

Model Runner V2 asks the model for the class that keeps its requests' state (`get_model_state_cls`). Ours hands the
model `inputs_embeds` from one buffer, which CUDA graphs capture as they do vLLM's own, and replaces the sampler.
Nothing of vLLM's is changed.
"""

from typing import Any

import cloudpickle  # ty: ignore[import-not-found]
import numpy as np
import torch
from torch import Tensor
from transformers import AutoTokenizer
from vllm import ModelRegistry  # ty: ignore[import-not-found]
from vllm.distributed import get_tp_group  # ty: ignore[import-not-found]
from vllm.utils.torch_utils import async_tensor_h2d  # ty: ignore[import-not-found]
from vllm.v1.outputs import LogprobsTensors  # ty: ignore[import-not-found]
from vllm.v1.worker.gpu.model_states.default import DefaultModelState  # ty: ignore[import-not-found]
from vllm.v1.worker.gpu.sample.sampler import Sampler  # ty: ignore[import-not-found]
from vllm.v1.worker.gpu.sample.states import NO_LOGPROBS  # ty: ignore[import-not-found]

from mot_trl.engines.slots import Slots
from mot_trl.engines.vllm_plugin import ARCHITECTURES, PREFIX, PROBES, SETTINGS
from mot_trl.engines.vllm_records import RecordShape, write_record
from mot_trl.generation.config import DecoderConfig
from mot_trl.generation.decoder import MixtureDecoder
from mot_trl.generation.step import StepRules
from mot_trl.modeling.embedding import blend_of

NEVER = np.iinfo(np.int32).max
CHUNK = 1024  # mixtures blended at a time: a preempted request that is read again may bring thousands of them


def __getattr__(name: str) -> type:
    """`MixtureLlamaForCausalLM` is vLLM's own `LlamaForCausalLM` with a state that feeds mixtures, and so on."""
    architecture = name.removeprefix(PREFIX)
    if architecture == name or architecture not in ARCHITECTURES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    base = ModelRegistry.models[architecture].load_model_cls()
    methods = {"get_model_state_cls": staticmethod(lambda: MixtureModelState), "__module__": __name__}
    globals()[name] = made = type(name, (base,), methods)
    return made


class MixtureModelState(DefaultModelState):
    """Keeps what each request has drawn, and feeds it.

    Raises:
        ValueError: A setting of vLLM's cannot go together with mixtures.
    """

    supports_prompt_embeds = False

    def __init__(self, vllm_config: Any, *args: Any) -> None:
        super().__init__(vllm_config, *args)
        check_vllm_config(vllm_config)
        settings = vllm_config.additional_config
        tokenizer: Any = AutoTokenizer.from_pretrained(self.model_config.tokenizer)
        self.own_decoder = DecoderConfig.from_dict(settings[SETTINGS]).build(tokenizer)
        self.own_decoder.draws_probes = settings.get(PROBES, False)
        self.use_decoder(self.own_decoder)
        self.inputs_embeds = torch.zeros(
            self.max_num_tokens, self.inputs_embeds_size, dtype=self.dtype, device=self.device
        )
        # By vLLM's index of a request, on the host.
        self.rows = np.zeros(self.max_num_reqs, dtype=np.int64)
        self.prompt_lengths = np.full(self.max_num_reqs, NEVER, dtype=np.int64)
        self._index_of: dict[str, int] = {}

    def use_decoder(self, decoder: MixtureDecoder | StepRules) -> None:
        """Draw and feed as a decoder does, from the next request on; none may be under way."""
        tensor_parallel = self.vllm_config.parallel_config.tensor_parallel_size > 1
        self.slots = Slots(
            StepRules(decoder.strategy, decoder.phases, decoder.mixture_score, decoder.draws_probes),
            rows=self.max_num_reqs,
            length=self.max_model_len + 1,
            vocab_size=self.model_config.get_vocab_size(),
            device=self.device,
            # Each rank has its own random numbers.
            share=get_tp_group().broadcast if tensor_parallel else None,
        )
        self.blend = blend_of(decoder.strategy)
        self.record_shape = RecordShape(self.slots.num_candidates, decoder.draws_probes)

    def add_request(self, req_index: int, new_req_data: Any) -> None:
        """Give a request its row; one that comes back after a preemption has it still."""
        super().add_request(req_index, new_req_data)
        request_id, prompt_length = new_req_data.req_id, new_req_data.prompt_len
        if len(new_req_data.prefill_token_ids) > prompt_length:
            row = self.slots.resume(request_id)
        else:
            row = self._begin(request_id, prompt_length, new_req_data.sampling_params)
        self.rows[req_index], self.prompt_lengths[req_index] = row, prompt_length
        self._index_of[request_id] = req_index

    def _begin(self, request_id: str, prompt_length: int, params: Any) -> int:
        end_ids = dict.fromkeys(params.stop_token_ids or ())
        if params.eos_token_id is not None:
            end_ids = {params.eos_token_id: None, **end_ids}
        max_length = min(prompt_length + params.max_tokens, self.max_model_len)
        return self.slots.begin(request_id, prompt_length, max_length=max_length, end_ids=end_ids)

    def remove_request(self, req_id: str) -> None:
        """Free the row of a request that has ended, was aborted, or is preempted."""
        super().remove_request(req_id)
        self.slots.leave(req_id)
        index = self._index_of.pop(req_id, None)
        if index is not None:
            self.prompt_lengths[index] = NEVER

    def prepare_inputs(self, input_batch: Any, req_states: Any) -> dict[str, Any]:
        """The embeddings of the batch's tokens, blends where mixtures were drawn."""
        inputs = super().prepare_inputs(input_batch, req_states)
        tokens = input_batch.num_tokens
        embeds = self.inputs_embeds[:tokens]
        embeds.copy_(self.model.embed_input_ids(input_batch.input_ids[:tokens]))
        for places, rows in self._generated(input_batch):
            self._blend(embeds, places, rows, input_batch.positions[places])
        inputs["inputs_embeds"] = self.inputs_embeds[: input_batch.num_tokens_after_padding]
        return inputs

    def _generated(self, input_batch: Any) -> list[tuple[Tensor, Tensor]]:
        """Places in the batch that hold generated tokens, and their rows: only these may be mixtures."""
        indices = input_batch.idx_mapping_np
        computed, scheduled = input_batch.num_computed_tokens_np, input_batch.num_scheduled_tokens
        skipped = np.clip(self.prompt_lengths[indices] - computed, 0, scheduled)
        counts = scheduled - skipped
        total = int(counts.sum())
        if total == 0:
            return []
        before = np.cumsum(counts) - counts
        starts = input_batch.query_start_loc_np[: len(indices)] + skipped
        places = np.repeat(starts - before, counts) + np.arange(total)
        pair = async_tensor_h2d(np.stack([places, np.repeat(self.rows[indices], counts)]), device=self.device)
        return [(part[0], part[1]) for part in pair.split(CHUNK, dim=1)]

    def _blend(self, embeds: Tensor, places: Tensor, rows: Tensor, positions: Tensor) -> None:
        candidate_ids = self.slots.candidate_ids[rows, positions]
        looked_up = self.model.embed_input_ids(candidate_ids.flatten()).unflatten(0, candidate_ids.shape)
        blends = self.blend(looked_up, self.slots.log_weights[rows, positions]).to(embeds.dtype)
        is_mixture = self.slots.mixture_mask[rows, positions].unsqueeze(-1)
        embeds[places] = torch.where(is_mixture, blends, embeds[places])

    def prepare_dummy_inputs(self, num_reqs: int, num_tokens: int) -> dict[str, Any]:
        """The same buffer, for the capture of CUDA graphs."""
        inputs = super().prepare_dummy_inputs(num_reqs, num_tokens)
        return {**inputs, "inputs_embeds": self.inputs_embeds[:num_tokens]}

    def custom_sampler(self, sampler: Any) -> tuple[Any, None]:
        """Replace vLLM's sampler."""
        return MixtureSampler(sampler, self), None


class MixtureSampler(Sampler):
    """vLLM's sampler, whose draw is a mixture's; everything that shapes the logits before it is vLLM's own."""

    def __init__(self, base: Any, state: MixtureModelState) -> None:
        self.__dict__.update(vars(base))
        self.model_state = state
        self._record: Any = None

    def __call__(self, logits: Tensor, input_batch: Any) -> Any:
        """Draw, and put the records in the place of log-probabilities, where some request wants them."""
        output = super().__call__(logits, input_batch)
        if self.sampling_states.max_num_logprobs(input_batch.idx_mapping_np) != NO_LOGPROBS:
            output.logprobs_tensors = self._record
        return output

    def get_logprobs_dims(self, *args: Any, **kwargs: Any) -> None:
        """Spare the base class the log-probabilities of the most likely tokens."""
        return

    def sample(
        self,
        logits: Tensor,
        expanded_idx_mapping: Tensor,
        idx_mapping: Tensor,
        idx_mapping_np: np.ndarray,
        pos: Tensor,
        *args: Any,
        return_logprobs: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """The visible tokens, and the logits that the draws are from."""
        scores = self.apply_sampling_params(logits, expanded_idx_mapping, idx_mapping, idx_mapping_np, pos, *args)
        rows = async_tensor_h2d(self.model_state.rows[idx_mapping_np], device=logits.device)
        step = self.model_state.slots.advance(
            rows,
            pos,
            scores.float(),
            is_new=pos + 1 >= self.req_states.prefill_len.gpu[idx_mapping],
            is_greedy=self.sampling_states.temperature.gpu[idx_mapping] == 0,
        )
        self._record = LogprobsTensors(*write_record(step, self.model_state.record_shape))
        return step.visible_ids, scores


class MixtureWorker:
    """What vLLM adds to its workers, for questions to all of them."""

    model_runner: Any

    def thinks_in_mixtures(self) -> bool:
        """Whether the worker's model runner took the state that feeds mixtures."""
        return isinstance(getattr(self.model_runner, "model_state", None), MixtureModelState)

    def record_shape(self) -> RecordShape:
        """What the records hold of each token."""
        return self.model_runner.model_state.record_shape

    def use_decoder(self, decoder: MixtureDecoder) -> None:
        """Take a decoder that no name stands for, or the phases of another tokenizer than the checkpoint's."""
        self.model_runner.model_state.use_decoder(decoder)

    def begin(self, rules: bytes, seed: int) -> None:
        """Take pickled rules (None: the engine's own decoder), and a seed for the draws."""
        torch.manual_seed(seed)
        state = self.model_runner.model_state
        state.use_decoder(cloudpickle.loads(rules) or state.own_decoder)


def check_vllm_config(vllm_config: Any) -> None:
    """Refuse what mixtures cannot go together with.

    Raises:
        ValueError: vLLM is configured so; the message names the setting.
    """
    parallel, scheduler = vllm_config.parallel_config, vllm_config.scheduler_config
    conflicts = {
        "pipeline_parallel_size": parallel.pipeline_parallel_size > 1,
        "enable_batch_sharded_sampling": getattr(parallel, "enable_batch_sharded_sampling", False),
        "speculative_config": vllm_config.speculative_config is not None,
        "enable_lora": vllm_config.lora_config is not None,
        # Keys and values alone would come back, and not what was drawn.
        "kv_transfer_config": vllm_config.kv_transfer_config is not None,
        "scheduling_policy": scheduler.policy != "fcfs",
        "additional_config": SETTINGS not in vllm_config.additional_config,
        "scheduler_cls": not str(scheduler.scheduler_cls).endswith("MixtureScheduler"),
    }
    if names := [name for name, is_set in conflicts.items() if is_set]:
        raise ValueError(
            f"Mixtures do not go together with this value of vLLM's {', '.join(f'`{name}`' for name in names)}; make "
            "the engine with `mot_trl.engines.vllm.load_engine`, and leave the setting as it is by default."
        )
