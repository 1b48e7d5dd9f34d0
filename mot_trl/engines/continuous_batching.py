"""Mixtures through transformers' own continuous batching, `generate_batch`, which needs no other package.

transformers makes its manager by `model.init_continuous_batching`. Ours has a model runner that feeds the blends and
draws the mixtures; scheduling and the paged cache are transformers'.
"""

from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers.generation import ContinuousBatchingConfig, ContinuousBatchingManager, ContinuousMixin
from transformers.generation.continuous_batching.model_runner import ModelRunner

from mot_trl.engines.slots import Slots
from mot_trl.generation.decoder import MixtureDecoder
from mot_trl.generation.ignored_settings import check_generation_config
from mot_trl.generation.step import Step, StepRules
from mot_trl.modeling.cpu_linear import onednn_linears
from mot_trl.modeling.distributed import is_sharded
from mot_trl.modeling.embedding import blend_of, override_embeddings
from mot_trl.modeling.patching import hold
from mot_trl.modeling.rollout import Rollout

COLUMNS = ("candidate_ids", "log_weights", "thinking_mask", "mixture_mask", "forced_mask", "logps")


def generate_batch(
    model: Any, decoder: MixtureDecoder, inputs: Sequence[Sequence[int]], **arguments: Any
) -> tuple[dict[str, Any], Rollout]:
    """What `model.generate_batch(inputs, **arguments)` returns, thought in mixtures, and the record in its order.

    `model` is transformers'; of PEFT's, the one inside.

    Raises:
        ValueError: A setting cannot go together with mixtures, or a prompt is empty.
        RuntimeError: A request failed.
    """
    if not inputs or not all(map(len, inputs)):
        raise ValueError(
            "There must be a prompt, and each needs a token; leave empty ones out, or give them some text."
        )
    managers: list[MixtureManager] = []

    def make_manager(**given: Any) -> MixtureManager:
        managers.append(MixtureManager(model, decoder, **given))
        return managers[0]

    packed = onednn_linears(model, packed=len(inputs) > 1)
    with packed, hold([model], "init_continuous_batching", make_manager):
        # The class's own: a caller may have bound the instance's to this function.
        outputs = ContinuousMixin.generate_batch(model, [list(ids) for ids in inputs], **arguments)
    (manager,) = managers
    errors = [output.error for output in outputs.values() if output.error is not None]
    if errors or len(outputs) < manager.num_requests:
        raise RuntimeError(
            f"transformers' continuous batching failed: {errors[0] if errors else 'it ended early'}. Its log has the "
            "rest; if its cache was too small for a request, raise `num_blocks` or `max_memory_percent`."
        )
    return outputs, manager.runner.record(outputs)


class MixtureManager(ContinuousBatchingManager):
    """transformers' manager of one `generate_batch`, whose model runner thinks in mixtures.

    Raises:
        ValueError: A setting cannot go together with mixtures.
    """

    runner: "MixtureRunner"

    def __init__(
        self,
        model: Any,
        decoder: MixtureDecoder,
        *,
        generation_config: Any,
        continuous_batching_config: ContinuousBatchingConfig | None,
        workload_hints: Any,
    ) -> None:
        config = generation_config or model.generation_config
        settings = copy(continuous_batching_config or ContinuousBatchingConfig())
        if not workload_hints.max_generated_length:
            raise ValueError("Set `max_new_tokens`: a rollout needs a maximum length.")
        check_batching(settings)
        check_generation_config(config)
        check_model(model, config)
        settings.use_cuda_graph, settings.use_async_batching = False, False
        # transformers finds blocks by their visible tokens, and two requests with the same may have other mixtures.
        settings.allow_block_sharing = False
        super().__init__(model, config, settings, workload_hints)
        self.num_requests = workload_hints.num_requests
        self.slots = Slots(
            StepRules(decoder.strategy, decoder.phases, decoder.mixture_score, decoder.draws_probes),
            rows=self.num_requests,
            length=workload_hints.max_prompt_length + workload_hints.max_generated_length,
            vocab_size=model.config.get_text_config().vocab_size,
            device=model.device,
        )

    def _create_batch_processor(self) -> Any:
        """Make transformers' processor, with our model runner in it."""
        processor = super()._create_batch_processor()
        if not isinstance(processor.model_runner, MixtureRunner):
            self.runner = processor.model_runner = MixtureRunner(processor.model_runner, self.slots)
        return processor


class MixtureRunner(ModelRunner):
    """transformers' model runner, which feeds what the slots hold, draws by their rules, and keeps the record."""

    inputs_and_outputs: Any

    def __init__(self, base: ModelRunner, slots: Slots) -> None:
        self.__dict__.update(vars(base))
        self.slots = slots
        self._rows: dict[str, tuple[int, int]] = {}  # with the lengths of prompts
        self._steps: list[tuple[Int[Tensor, "3 N"], Step]] = []

    def compute_batch(self, model: Any, batch_data: Any) -> None:
        """Run the model on the batch's tokens, blends where mixtures were drawn, and draw."""
        batch, device = self.inputs_and_outputs.requests_in_batch, self.slots.device
        rows, lengths = zip(*(self._row(each.state) for each in batch), strict=True)
        tokens = torch.tensor(rows).repeat_interleave(torch.tensor([each.query_length for each in batch]))
        # Row, position, and column of the record; transformers has counted this batch's tokens already.
        draws = [
            (row, each.state.position_offset - 1, each.state.position_offset - length)
            for row, length, each in zip(rows, lengths, batch, strict=True)
            if each.has_new_token
        ]
        self._draws = torch.tensor(draws, dtype=torch.long).view(-1, 3).T.to(device, non_blocking=True)
        with override_embeddings(model, blend_of(self.slots.rules.strategy)) as override:
            override.inputs = self.slots.inputs(tokens.to(device, non_blocking=True), batch_data["position_ids"][0])
            super().compute_batch(model, batch_data)

    def _row(self, state: Any) -> tuple[int, int]:
        """Row and prompt length of a request; one that was evicted, and is read again, has its row still."""
        if state.request_id not in self._rows:
            length, ends = len(state.initial_tokens), state.eos_token_id
            ends = ends if isinstance(ends, Iterable) else [-1 if ends is None else ends]
            limit = length + state.max_new_tokens
            row = self.slots.begin(state.request_id, length, max_length=limit, end_ids=ends)
            self._rows[state.request_id] = row, length
        return self._rows[state.request_id]

    def _sample(self, scores: Float[Tensor, "1 N V"], output_ids: Int[Tensor, "O T"]) -> None:
        """Draw for the requests that want a token; their logits come first."""
        rows, positions, _ = self._draws
        if not len(rows):
            return
        yes = torch.ones_like(rows, dtype=torch.bool)
        is_greedy = ~yes if self.do_sample else yes
        step = self.slots.advance(rows, positions, scores[0, : len(rows)], is_new=yes, is_greedy=is_greedy)
        self._steps.append((self._draws, step))
        output_ids[0, : len(rows)] = step.visible_ids
        if self.return_logprobs:
            output_ids[1, : len(rows)] = step.logps.view(torch.int32)  # the bits, as transformers stores its own

    def record(self, outputs: dict[str, Any]) -> Rollout:
        """The record of finished requests, one row for each, in their order."""
        lengths = torch.tensor([len(output.generated_tokens) for output in outputs.values()])
        draws, steps = zip(*self._steps, strict=True)
        rows, _, columns = torch.cat(draws, dim=1)
        probes, num_candidates = self.slots.rules.draws_probes, self.slots.num_candidates
        record = Rollout.empty(
            len(lengths), int(lengths.max()), num_candidates=num_candidates, device=rows.device, probes=probes
        )
        for name in COLUMNS + (("probe_ids", "probe_logps") if probes else ()):
            getattr(record, name)[rows, columns] = torch.cat([getattr(step, name) for step in steps])
        # What the record holds of each row: of its last token, and of any.
        closed_by = torch.zeros_like(record.candidate_ids[..., 0], dtype=torch.int8)
        non_finite = torch.zeros_like(record.thinking_mask)
        closed_by[rows, columns] = torch.cat([step.phase.closed_by for step in steps]).to(torch.int8)
        non_finite[rows, columns] = torch.cat([step.non_finite for step in steps])
        order = torch.tensor([self._rows[request_id][0] for request_id in outputs], device=rows.device)
        lengths = lengths.to(rows.device)
        tensors = {name: tensor[order] for name, tensor in record.tensors().items()}
        of_rows = {"closed_by": closed_by[order, lengths - 1], "non_finite": non_finite[order].any(dim=1)}
        return Rollout(**{**tensors, **of_rows, "lengths": lengths})


def check_batching(settings: ContinuousBatchingConfig) -> None:
    """Refuse settings of continuous batching that mixtures do not go together with.

    Raises:
        ValueError: There are such; the message names them.
    """
    names = ("use_cuda_graph", "use_async_batching", "varlen_compile_config", "decode_compile_config")
    conflicts = {name: getattr(settings, name) for name in (*names, "default_compile_level")}
    # transformers would draw with the same numbers in every rollout.
    conflicts["seed"] = settings.seed is not None
    if names := [f"`{name}`" for name, value in conflicts.items() if value and value != (False, False)]:
        raise ValueError(f"With mixtures, continuous batching takes no {', '.join(names)}; leave it out.")


def check_model(model: Any, generation_config: Any) -> None:
    """Refuse what continuous batching would compute otherwise than training does, or not at all.

    Raises:
        ValueError: There is such; the message names it.
    """
    processors = [
        type(each).__name__
        for each in model._get_logits_processor(generation_config)
        if not each.supports_continuous_batching
    ]
    conflicts = {
        # transformers would drop them, or give them one token in the place of a text; this one needs neither.
        **{name: name != "MinPLogitsWarper" for name in processors},
        "sharded weights": is_sharded(model) or model.tp_size not in (None, 1),
        "`attn_logit_softcapping`": getattr(model.config.get_text_config(), "attn_logit_softcapping", None),
    }
    if names := [name for name, is_set in conflicts.items() if is_set]:
        raise ValueError(
            f"transformers' continuous batching does not support {', '.join(names)}; do without, or leave "
            "`use_transformers_continuous_batching` out."
        )
