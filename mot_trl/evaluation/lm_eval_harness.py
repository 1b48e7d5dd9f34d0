"""Model type `mot` for lm-evaluation-harness.

    python -m mot_trl.evaluation.lm_eval_harness --model mot --model_args pretrained=PATH --tasks gsm8k

is the `lm_eval` command with `mot` registered. lm-eval has no plugin entry point: importing this file registers it.
"""

from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase, StoppingCriteria, StoppingCriteriaList

from mot_trl.extras import install_hint
from mot_trl.generation.config import TRAINED, DecoderConfig, decoder_for, parse_settings
from mot_trl.modeling.loading import embedded_decoder

try:
    from lm_eval.__main__ import cli_evaluate  # ty: ignore[import-not-found]
    from lm_eval.api.registry import register_model  # ty: ignore[import-not-found]
    from lm_eval.models.huggingface import HFLM  # ty: ignore[import-not-found]
except ImportError as error:
    missing = f"lm-evaluation-harness is missing: {install_hint('eval')}"
    if __name__ == "__main__":
        raise SystemExit(missing) from error
    raise ImportError(missing) from error


class AnswerStops(StoppingCriteria):
    """End a row at a stop sequence in its answer, but not in its thinking, which `stop_text` ends."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, stops: list[str], *, stop_text: str, prompt_length: int
    ) -> None:
        # The harness passes "" for models without an end token; it would end every row at once.
        self.tokenizer, self.stops = tokenizer, [stop for stop in stops if stop]
        self.stop_text, self.prompt_length = stop_text, prompt_length

    def __call__(self, input_ids: Int[Tensor, "B S"], scores: Any, **_: Any) -> Bool[Tensor, " B"]:
        """Mark the rows whose answer holds a stop sequence."""
        # Decode all tokens: a stop sequence may begin in the middle of one and end in the next.
        texts = self.tokenizer.batch_decode(input_ids[:, self.prompt_length :])
        answers = [text.partition(self.stop_text)[2] for text in texts]
        ended = [any(stop in answer for stop in self.stops) for answer in answers]
        return torch.tensor(ended, device=input_ids.device)


@register_model("mot")
class MoTLM(HFLM):
    """The harness's transformers model, thinking in mixtures wherever it generates.

    Mixtures are sampled, even where a task asks for greedy decoding; the harness's `--seed` makes runs repeatable.
    Log-likelihoods, as in multiple choice, are those of ordinary text, without thinking.

    Args:
        pretrained: As for the harness's `hf`, like all arguments that are not named here.
        strategy: As on the command line of `recipes/evaluate.py`, options separated by semicolons:
            `top_k:k=5;min_prob=0.1`. By default the checkpoint's own.
        temperature: Used where the task sets none above 0; by default the checkpoint's.
        greedy: Decode greedily, without mixtures, where the task asks for it.
        kwargs: The other fields of `DecoderConfig` (`stop_text`, `max_mixture_tokens` ...), and arguments of `hf`.

    Raises:
        ValueError: The strategy is unknown, or none is given and the checkpoint carries no decoder.
    """

    def __init__(
        self,
        pretrained: Any,
        *args: Any,
        strategy: str | None = None,
        temperature: float | None = None,
        greedy: bool = False,
        **kwargs: Any,
    ) -> None:
        # The harness refuses arguments that it does not know, so the decoder's must be gone before it sees them.
        given = {field.name: kwargs.pop(field.name, None) for field in fields(DecoderConfig)}
        if strategy is not None:
            parse_settings(strategy)  # a typo must not wait for the model to load
        super().__init__(pretrained, *args, **kwargs)
        config: Any = self.model.generation_config
        # transformers reads the generation config of an adapter's base, not the adapter's own.
        adapter = kwargs.get("peft")
        carried = (embedded_decoder(Path(adapter)) if adapter else None) or config.to_dict().get("mixture")
        decoder = decoder_for(strategy or TRAINED, carried, path=str(pretrained))
        self.settings = decoder.override({name: value for name, value in given.items() if value is not None})
        self.decoder = self.settings.build(self.tokenizer)
        self.temperature = temperature or config.temperature or 1.0
        self.greedy = greedy
        # The harness cuts the thinking off before it scores an answer, if it knows where the thinking ends.
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
