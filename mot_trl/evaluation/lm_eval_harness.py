"""A model type for lm-evaluation-harness, named `mot`.

`python -m mot_trl.evaluation.lm_eval_harness --model mot ...` is `lm_eval` with `mot` known.

The harness has no door for plug-ins, so a model type is known once this file is imported; all else is the harness's.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase, StoppingCriteria, StoppingCriteriaList

from mot_trl.generation.config import DecoderConfig, parse_settings
from mot_trl.modeling.checkpoints import embedded_decoder

try:
    from lm_eval.__main__ import cli_evaluate  # ty: ignore[import-not-found]
    from lm_eval.api.registry import register_model  # ty: ignore[import-not-found]
    from lm_eval.models.huggingface import HFLM  # ty: ignore[import-not-found]
except ImportError as error:
    raise ImportError('lm-evaluation-harness is missing: pip install "mot-trl[eval]"') from error


class AnswerStops(StoppingCriteria):
    """Ends a row at a stop sequence of the answer; the same characters in the thinking end nothing.

    Args:
        tokenizer: Reads the rows.
        stops: The stop sequences.
        stop_text: What ends the thinking.
        prompt_length: Where the completions begin.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, stops: Sequence[str], *, stop_text: str, prompt_length: int
    ) -> None:
        self.tokenizer, self.stops = tokenizer, [stop for stop in stops if stop]
        self.stop_text, self.prompt_length = stop_text, prompt_length

    def __call__(
        self, input_ids: Int[Tensor, "B S"], scores: Float[Tensor, "B V"] | None, **_: Any
    ) -> Bool[Tensor, " B"]:
        """The rows whose answer holds a stop sequence."""
        texts = self.tokenizer.batch_decode(input_ids[:, self.prompt_length :])
        answers = [text.partition(self.stop_text)[2] for text in texts]
        ended = [any(stop in answer for stop in self.stops) for answer in answers]
        return torch.tensor(ended, device=input_ids.device)


@register_model("mot")
class MoTLM(HFLM):
    """The harness's transformers model, thinking in mixtures where it generates.

    A mixture is drawn, so generation samples even where a task asks for greedy decoding; the harness's `--seed` makes
    it repeatable. Log-likelihoods, as in multiple choice, are of ordinary text: nothing is thought there.

    Args:
        pretrained: As for the harness's `hf`, like all arguments that are not named here.
        strategy: As on the command line of `recipes/evaluate.py`, options separated by semicolons:
            `top_k:k=5;min_prob=0.1`. By default the checkpoint's own.
        temperature: Where the task names none above 0; by default the checkpoint's.
        greedy: Decode greedily where the task asks for it, that is, without mixtures.
        stop_text, start_text, max_mixture_tokens, cold_stop_threshold, cold_stop_patience: When thinking begins and
            ends, as in `MoTGRPOConfig`.

    Raises:
        ValueError: The strategy is unknown, or none is named and the checkpoint carries none.
    """

    def __init__(
        self,
        pretrained: Any,
        *args: Any,
        strategy: str | None = None,
        temperature: float | None = None,
        greedy: bool = False,
        stop_text: str | None = None,
        start_text: str | None = None,
        max_mixture_tokens: int | None = None,
        cold_stop_threshold: float | None = None,
        cold_stop_patience: int | None = None,
        **kwargs: Any,
    ) -> None:
        phases = {
            "stop_text": stop_text,
            "start_text": start_text,
            "max_mixture_tokens": max_mixture_tokens,
            "cold_stop_threshold": cold_stop_threshold,
            "cold_stop_patience": cold_stop_patience,
        }
        named = {} if strategy is None else parse_settings(strategy)
        named |= {name: value for name, value in phases.items() if value is not None}
        super().__init__(pretrained, *args, **kwargs)
        config: Any = self.model.generation_config
        adapter = kwargs.get("peft")
        carried = (embedded_decoder(Path(adapter)) if adapter else None) or config.to_dict().get("mixture")
        if carried is None and strategy is None:
            raise ValueError(f"{pretrained!r} carries no decoder; name a strategy: `strategy=dirichlet`.")
        self.settings = DecoderConfig.from_dict(carried or {}).override(named)
        self.decoder = self.settings.build(self.tokenizer)
        self.temperature = temperature or config.temperature or 1.0
        self.greedy = greedy
        if self.think_end_token is None:
            self.think_end_token = self.settings.stop_text

    def _model_generate(
        self, context: Int[Tensor, "B P"], max_length: int, stop: list[str], **generation_kwargs: Any
    ) -> Int[Tensor, "B S"]:
        asked = float(generation_kwargs.pop("temperature", 0.0) or 0.0)
        sampled = bool(generation_kwargs.pop("do_sample", False)) or not self.greedy
        sampling = {"temperature": asked or self.temperature, "top_k": 0} if sampled else {}
        stops = AnswerStops(self.tokenizer, stop, stop_text=self.settings.stop_text, prompt_length=context.size(1))
        return self.model.generate(
            input_ids=context,
            max_length=max_length,
            stopping_criteria=StoppingCriteriaList([stops]),
            pad_token_id=self.tokenizer.pad_token_id,
            custom_generate=self.decoder,
            do_sample=sampled,
            **{**sampling, **generation_kwargs},
        )


if __name__ == "__main__":
    cli_evaluate()
