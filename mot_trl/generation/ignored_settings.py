"""Settings of transformers' `generate` that decoding with mixtures would ignore, and therefore refuses."""

from collections.abc import Mapping
from typing import Any

from transformers import GenerationConfig
from transformers.generation.configuration_utils import GenerationMode

_REASONS = {
    "mixtures are sampled, not searched for, so `num_beams` must be 1": (
        "num_beams", "num_beam_groups", "diversity_penalty", "length_penalty", "early_stopping", "constraints",
        "force_words_ids", "low_memory",
    ),
    "each position is drawn from a pass of the model's own, not from an assistant's guesses": (
        "assistant_model", "assistant_tokenizer", "prompt_lookup_num_tokens", "max_matching_ngram_size", "use_mtp",
        "assistant_early_exit", "is_assistant", "num_assistant_tokens", "num_assistant_tokens_schedule",
        "assistant_confidence_threshold", "assistant_lookbehind", "target_lookbehind", "assistant_ensemble_weight",
        "speculation_type",
    ),
    "mixtures are drawn from the softmax of the last layer's logits": ("dola_layers", "penalty_alpha"),
    "decoding gives tokens alone; `decoder.rollout` holds what was drawn, with its log-probabilities": (
        "return_dict_in_generate", "output_scores", "output_logits", "output_attentions", "output_hidden_states",
    ),
    "transformers passes a decoder no tokenizer": ("token_healing",),
    "the decoder does not compile its passes": ("compile_config",),
    "mixtures are decoded in batches": ("continuous_batching_config",),
    "mixtures need a decoder-only model": ("decoder_start_token_id",),
    "transformers passes it no tokens of a decoder; use `token_streamer`, or `on_text` of `mot_trl.generate`": (
        "streamer",
    ),
}  # fmt: skip

IGNORED = {name: reason for reason, names in _REASONS.items() for name in names}
"""Why a setting has no effect on mixtures, by its name."""

# What transformers fills in where nothing is set, beside None and False: values that ask for nothing.
_NEUTRAL = {
    "num_beams": 1,
    "num_beam_groups": 1,
    "num_return_sequences": 1,
    "diversity_penalty": 0.0,
    "length_penalty": 1.0,
}


def check_settings(given: Mapping[str, Any], ignored: Mapping[str, str] = IGNORED) -> None:
    """Refuse settings that were given by name and would be ignored.

    Args:
        given: Settings of `generate`; values that ask for nothing, such as `num_beams=1`, pass.
        ignored: Names to refuse, with the reason.

    Raises:
        ValueError: One of them would be ignored.
    """
    for name, value in given.items():
        if name in ignored and not (value is None or value is False or value == _NEUTRAL.get(name)):
            raise ValueError(
                f"`{name}={value!r}` would be ignored: {ignored[name]}. Leave it out, of the model's own generation "
                "config too."
            )
    if given.get("cache_implementation") == "paged":
        raise ValueError(
            "`cache_implementation='paged'` stands for continuous batching, which feeds no mixtures; leave it out."
        )


# Those of them that choose another way of decoding, in the order in which transformers looks at them.
_OF_MODES = (
    "constraints", "force_words_ids", "num_beams", "penalty_alpha", "use_mtp", "prompt_lookup_num_tokens",
    "assistant_early_exit", "dola_layers",
)  # fmt: skip


def check_generation_config(config: GenerationConfig) -> None:
    """Refuse a whole generation config, perhaps a model's own, that asks for more than sampled or greedy tokens.

    Raises:
        ValueError: It asks for another way of decoding, or for another kind of result.
    """
    check_settings({"return_dict_in_generate": config.return_dict_in_generate})
    mode = config.get_generation_mode()
    # Without such a mode transformers itself ignores its settings: a model's own config may well hold some.
    if mode not in (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE):
        check_settings({name: getattr(config, name, None) for name in _OF_MODES})
        raise ValueError(f"The generation config asks for {mode.value.replace('_', ' ')}; mixtures are sampled.")
