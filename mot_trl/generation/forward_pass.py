"""Forward passes of the decoding loop: read the prompts, then one step at a time, for the rows still in the batch."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import GenerationConfig
from transformers.utils import logging

from mot_trl.modeling.cpu_linear import is_compiled, without_version_counters
from mot_trl.modeling.kv_cache import preallocate
from mot_trl.modeling.shared_kv_cache import expand

logger = logging.get_logger(__name__)

# The inputs known to have one row a completion. Any other may hold rows of something else, such as images.
ROW_INPUTS = ("attention_mask", "position_ids", "token_type_ids")


class ForwardPass:
    """A model with its cache and the other inputs that `generate` prepared for it.

    Attributes:
        can_select_rows: Whether equal prompts are read once and finished rows may leave. Where not, the batch stays as
            `generate` prepared it.
    """

    def __init__(self, model: Any, model_kwargs: dict[str, Any], generation_config: GenerationConfig) -> None:
        self.model, self.generation_config = model, generation_config
        self.model_kwargs: dict[str, Any] = model_kwargs
        if getattr(model.config.get_text_config(), "output_router_logits", False):
            # The routers' loss serves training alone, and its mask does not fit single tokens.
            self.model_kwargs = {**model_kwargs, "output_router_logits": False}
        # Made once: to tell which guard fits, it looks at every module.
        self.without_version_counters = without_version_counters(model)
        self.use_cache = bool(model_kwargs.get("use_cache", True))
        self.can_select_rows = self._prepare_cache()

    def prefill(self, input_ids: Int[Tensor, "N P"], *, share_prompts: bool = True) -> Float[Tensor, "N V"]:
        """Logits after the prompts; of neighbors with equal prompts, the model reads one.

        Not so without `share_prompts`: prompts with the same tokens may hold other mixtures.
        """
        with self.without_version_counters():
            distinct = self._distinct_prompts(input_ids) if self.can_select_rows and share_prompts else None
            if distinct is None:
                return self._prefill(input_ids)
            first_row, prompt_of_row = distinct
            self._select_inputs(first_row)
            logits = self._prefill(input_ids[first_row])
            # From here on each completion needs a row of its own again, in the inputs and in the cache.
            self._select_inputs(prompt_of_row)
            attention = self.model.config.get_text_config(decoder=True)._attn_implementation
            # Shared keys and values answer `scaled_dot_product_attention` alone, in the cache's own precision.
            share = attention == "sdpa" and not torch.is_autocast_enabled("cpu") and not is_compiled(self.model)
            expand(self.model_kwargs["past_key_values"], prompt_of_row, share=share)
            return logits[prompt_of_row]

    def step(self, input_ids: Int[Tensor, "N S"]) -> Float[Tensor, "N V"]:
        """Logits after the last token; without a cache the model reads everything before it, too."""
        if self.model.training:
            # Dropout would change the tokens, and gradient checkpointing drops the cache.
            raise RuntimeError(
                f"{type(self.model).__name__} was put into training mode while it generated, perhaps by another "
                "thread; let it finish first, or generate with a copy of it."
            )
        with self.without_version_counters():
            inputs = self.model.prepare_inputs_for_generation(
                input_ids, next_sequence_length=1 if self.use_cache else None, **self.model_kwargs
            )
            outputs = self.model(**inputs, return_dict=True)
            self.model_kwargs = self.model._update_model_kwargs_for_generation(outputs, self.model_kwargs)
            return outputs.logits[:, -1]

    def select_rows(self, indices: Int[Tensor, " M"]) -> None:
        """Keep the rows `indices` of the inputs and the cache."""
        self._select_inputs(indices)
        self.model_kwargs["past_key_values"].reorder_cache(indices)

    def _prefill(self, input_ids: Int[Tensor, "U P"]) -> Float[Tensor, "U V"]:
        outputs = self.model._prefill(input_ids, self.generation_config, self.model_kwargs)
        self.model_kwargs = self.model._update_model_kwargs_for_generation(outputs, self.model_kwargs)
        return outputs.logits[:, -1]

    def _distinct_prompts(self, input_ids: Int[Tensor, "N P"]) -> tuple[Int[Tensor, " U"], Int[Tensor, " N"]] | None:
        """The first row of each run of equal prompts, and the run of each row; None if all runs have length 1."""
        mask = self.model_kwargs.get("attention_mask")
        # The mask tells a padding token from the same token in a prompt.
        keys = input_ids if mask is None else torch.cat([input_ids, mask], dim=-1)
        _, prompt_of_row = torch.unique_consecutive(keys, dim=0, return_inverse=True)
        count = int(prompt_of_row[-1]) + 1
        if count == len(prompt_of_row):
            return None
        return torch.searchsorted(prompt_of_row, torch.arange(count, device=prompt_of_row.device)), prompt_of_row

    def _select_inputs(self, indices: Int[Tensor, " M"]) -> None:
        tensors = {name: value[indices] for name, value in self.model_kwargs.items() if isinstance(value, Tensor)}
        self.model_kwargs = {**self.model_kwargs, **tensors}

    def _prepare_cache(self) -> bool:
        """Give the cache room to grow in place; whether rows can be selected."""
        tensors = {name: value for name, value in self.model_kwargs.items() if isinstance(value, Tensor)}
        if not self.use_cache or any(name not in ROW_INPUTS or value.dim() != 2 for name, value in tensors.items()):
            return False
        if self.model_kwargs.get("mm_encoder_outputs"):
            return False  # the images are encoded already, and prompts with equal ids may show different ones
        cache = self.model_kwargs.get("past_key_values")
        if getattr(cache, "_is_user_defined", False):
            return False  # the caller may use it again, and expects all its rows there
        if not preallocate(cache):
            logger.warning_once(
                f"The rows of a {type(cache).__name__} of {type(self.model).__name__} cannot be selected, so rollouts "
                "take the plain path: correct, but no faster than transformers' own."
            )
            return False
        return True
