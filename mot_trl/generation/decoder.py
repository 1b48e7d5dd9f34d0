"""The decoder for transformers' `generate`: samples like its own loop, and feeds mixtures while a row is thinking."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from mot_trl.generation.decoding_loop import Decoding
from mot_trl.generation.phases import Phases
from mot_trl.modeling.cascade_attention import cascading
from mot_trl.modeling.cpu_linear import onednn_linears
from mot_trl.modeling.embedding import blend_of, override_embeddings
from mot_trl.modeling.rollout import Rollout
from mot_trl.strategies import Strategy
from mot_trl.strategies.surrogate import LogProbType


@dataclass
class MixtureDecoder:
    """Decodes like transformers' sampling loop, but feeds the model mixtures while a row is thinking.

    Pass it as `model.generate(..., custom_generate=decoder)`: logits processors, stopping criteria and the generation
    config keep their meaning. Afterwards `rollout` holds what was drawn. With `do_sample=False`, the limit of zero
    temperature, every mixture is its likeliest token alone.

    Equal prompts that follow one another are read once; in float32 on a CPU, and with `sdpa`, they are kept and
    attended to once, too. Rows that have ended leave the batch, and the cache grows in place, unless it is your own:
    that is left as transformers leaves it. One host synchronisation a step decides when to stop; on accelerators two
    in eight steps, beside the one a step with which transformers asks whether its mask hides anything. With a logits
    processor or stopping criterion of your own, rows leave only if it says `rowwise = True`: that it keeps no state of
    single rows.

    transformers does not hand a tokenizer on, so in place of `stop_strings` pass a `StopStringCriteria`.

    Attributes:
        strategy: Draws the mixtures.
        phases: When thinking begins and ends.
        mixture_score: How `rollout.logps` scores a mixture: `density`, `expected` or `visible`.
        rollout: The record of the last call, one row a completion.
    """

    strategy: Strategy
    phases: Phases
    mixture_score: LogProbType = "density"
    rollout: Rollout | None = None

    @torch.no_grad()
    def __call__(
        self,
        model: PreTrainedModel,
        input_ids: Int[Tensor, "B P"],
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        token_streamer: BaseStreamer | None = None,
        **model_kwargs: Any,
    ) -> Int[Tensor, "B S"]:
        """Decode, and keep the record.

        Args:
            model: A decoder-only model.
            input_ids: Left-padded prompts.
            logits_processor: Shapes the logits before each draw, the temperature included.
            stopping_criteria: Ends rows; the maximum length among them.
            generation_config: `do_sample` and the padding token are read here.
            token_streamer: Is given the visible tokens as they come (`generate` does not hand `streamer` on).
            model_kwargs: What `generate` has prepared for the forward pass.

        Returns:
            Prompts and completions, padded on the right.

        Raises:
            ValueError: Beam search is asked for, or nothing bounds the length.
        """
        if generation_config.num_beams not in (None, 1):
            raise ValueError("Mixtures are sampled, not searched for, so `num_beams` must be 1.")
        if stopping_criteria.max_length is None:
            raise ValueError("Set `max_new_tokens`: a rollout needs a maximum length.")
        decoding = Decoding(
            self.strategy,
            self.phases,
            self.mixture_score,
            model=model,
            max_length=stopping_criteria.max_length,
            input_ids=input_ids,
            logits_processor=logits_processor,
            stopping_criteria=stopping_criteria,
            generation_config=generation_config,
            model_kwargs=model_kwargs,
        )
        packed = onednn_linears(model, packed=decoding.is_long)
        with packed, cascading(), override_embeddings(model, blend_of(self.strategy)) as override:
            while decoding.goes_on():
                decoding.advance(decoding.forward(override))
                if token_streamer is not None:
                    token_streamer.put(decoding.completion_ids[:, decoding.length - 1].cpu())
        if token_streamer is not None:
            token_streamer.end()
        completion_ids, self.rollout = decoding.result()
        return torch.cat([input_ids, completion_ids], dim=1)
