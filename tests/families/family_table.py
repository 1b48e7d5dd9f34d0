"""Every model family in miniature: the config options each needs beyond the common sizes, and the expected outcome."""

import inspect
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedConfig, PreTrainedModel

# Taken where the family's config has the name. Far from uniform, so that the smallest slip is seen.
SIZES: dict[str, Any] = {
    "vocab_size": 264,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
# Windows shorter than the prompts, in one layer of two.
WINDOW = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
ROUTED = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "n_group": 1, "topk_group": 1}
LATENT = {
    "num_key_value_heads": 4,
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 8,
}
DELTA = {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "layer_types": ["linear_attention", "full_attention"],
}
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 4}

FAMILIES: dict[str, dict[str, Any]] = {
    "afmoe": {**EXPERTS, **WINDOW, "num_dense_layers": 1, "num_shared_experts": 1},
    "apertus": {},
    "arcee": {},
    "aria_text": {"moe_num_experts": 4, "moe_topk": 2},
    "axk1": {**ROUTED, **LATENT},
    "axk2": {
        **ROUTED,
        **LATENT,
        "index_head_dim": 8,
        "index_n_heads": 2,
        "index_topk": 64,
        "gated_norm_rank": 4,
        "head_dim": 4,
    },
    "bailing_hybrid": {
        **ROUTED,
        **LATENT,
        "num_local_experts": 4,
        "n_shared_experts": 1,
        "first_k_dense_replace": 1,
        "layer_group_size": 2,
        "q_lora_rank": None,
    },
    "bamba": {**MAMBA, "attn_layer_indices": [1]},
    "beam": {},
    "biogpt": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "bitnet": {},
    "bloom": {"n_layer": 2, "n_head": 4},
    "codegen": {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4},
    "cohere": {"logit_scale": 0.25},
    "cohere2": {"logit_scale": 0.25, **WINDOW},
    "cohere2_moe": {**EXPERTS, **WINDOW, "logit_scale": 0.25},
    "cohere_compass_text": {
        **WINDOW,
        "rope_parameters": {
            k: {"rope_type": "default", "rope_theta": 10000.0} for k in ("full_attention", "sliding_attention")
        },
        "logit_scale": 0.25,
    },
    "ctrl": {"n_embd": 32, "n_layer": 2, "n_head": 4, "dff": 48, "n_positions": 256},
    "cwm": WINDOW,
    "dbrx": {
        "n_heads": 4,
        "d_model": 32,
        "n_layers": 2,
        "max_seq_len": 256,
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
        "clip_qkv": 8.0,
        "ffn_config": {"ffn_hidden_size": 16, "moe_num_experts": 4, "moe_top_k": 2, "hidden_size": 32},
    },
    "deepseek_v2": {**ROUTED, **LATENT, "head_dim": 4, "first_k_dense_replace": 1},
    "deepseek_v3": {**ROUTED, **LATENT, "head_dim": 4, "first_k_dense_replace": 1},
    "deepseek_v32": {
        **ROUTED,
        **LATENT,
        "head_dim": 4,
        "first_k_dense_replace": 1,
        "index_head_dim": 8,
        "index_n_heads": 2,
        "index_topk": 64,
    },
    "deepseek_v4": {
        **ROUTED,
        "num_key_value_heads": 1,
        "q_lora_rank": 8,
        "o_lora_rank": 8,
        "o_groups": 2,
        "index_head_dim": 8,
        "index_n_heads": 2,
        "index_topk": 64,
        "sliding_window": 8,
        "hc_mult": 2,
    },
    "diffllama": {},
    "doge": {},
    "dots1": {**ROUTED, "n_shared_experts": 1, "first_k_dense_replace": 1},
    "ernie4_5": {},
    "ernie4_5_moe": {"moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 16, "moe_num_shared_experts": 1},
    "exaone4": WINDOW,
    "exaone_moe": {**EXPERTS, **WINDOW, "n_group": 1},
    "falcon": {"alibi": True},
    "falcon_h1": {**MAMBA, "mamba_d_ssm": 64, "lm_head_multiplier": 0.5, "embedding_multiplier": 2.0},
    "falcon_mamba": {"state_size": 8},
    "flex_olmo": EXPERTS,
    "flint": {},
    "gemma": {},
    "gemma2": {**WINDOW, "query_pre_attn_scalar": 8, "final_logit_softcapping": 2.0},
    "gemma3_text": {**WINDOW, "query_pre_attn_scalar": 8, "final_logit_softcapping": 2.0},
    "gemma3n_text": {
        **WINDOW,
        "num_hidden_layers": 4,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "num_kv_shared_layers": 2,
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": 250,
        "laurel_rank": 4,
        "intermediate_size": 48,
        "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0],
        "final_logit_softcapping": 2.0,
    },
    "gemma4_text": {
        **WINDOW,
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": 264,
        "global_head_dim": 8,
        "final_logit_softcapping": 2.0,
    },
    "gemma4_unified_text": {**WINDOW, "global_head_dim": 8, "final_logit_softcapping": 2.0},
    "glm": {},
    "glm4": {},
    "glm4_moe": {**ROUTED, "first_k_dense_replace": 1},
    "glm4_moe_lite": {**ROUTED, **LATENT},
    "glm_moe_dsa": {
        **ROUTED,
        **LATENT,
        "head_dim": 4,
        "first_k_dense_replace": 1,
        "index_head_dim": 8,
        "index_n_heads": 2,
        "index_topk": 64,
    },
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4},
    "gpt_bigcode": {"attn_pdrop": 0.0, "n_embd": 32, "n_layer": 2, "n_head": 4},
    "gpt_neo": {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": 8},
    "gpt_neox": {},
    "gpt_oss": {"num_local_experts": 4, "num_experts_per_tok": 2, **WINDOW},
    "gptj": {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4},
    "granite": {"logits_scaling": 4.0, "embedding_multiplier": 2.0},
    "granite_swa": {"logits_scaling": 4.0, **WINDOW},
    "granitemoe": {"logits_scaling": 4.0, "num_local_experts": 4},
    "granitemoehybrid": {
        **MAMBA,
        "logits_scaling": 4.0,
        "num_local_experts": 4,
        "layer_types": ["mamba", "attention"],
        "shared_intermediate_size": 16,
    },
    "granitemoeshared": {"logits_scaling": 4.0, "num_local_experts": 4, "shared_intermediate_size": 16},
    "helium": {},
    "hunyuan_v1_dense": {},
    "hy_v3": {**EXPERTS, "mlp_layer_types": ["dense", "sparse"]},
    "hyperclovax": {"logits_scaling": 0.25},
    "inkling2_text": {
        **ROUTED,
        "swa_num_attention_heads": 4,
        "swa_num_key_value_heads": 2,
        "swa_head_dim": 8,
        "sliding_window_size": 8,
        "rel_extent": 16,
        "d_rel": 4,
    },
    "internlm3": {},
    "jais2": {},
    "jamba": {
        "num_experts": 4,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "mamba_d_state": 8,
        "mamba_dt_rank": 4,
        "use_mamba_kernels": False,
    },
    "jetmoe": {"num_local_experts": 4, "kv_channels": 8},
    "kimi_linear": {
        **ROUTED,
        **LATENT,
        "num_local_experts": 4,
        "q_lora_rank": None,
        "linear_head_dim": 8,
        "linear_num_heads": 4,
        "layer_types": ["linear_attention", "full_attention"],
        "mlp_layer_types": ["dense", "sparse"],
    },
    "kolibri1": {**EXPERTS, "shared_expert_intermediate_size": 16, **WINDOW},
    "laguna": {**EXPERTS, "shared_expert_intermediate_size": 16, **WINDOW, "mlp_layer_types": ["dense", "sparse"]},
    "lfm2": {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
    "lfm2_moe": {**EXPERTS, "layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "lfm3": {"layer_types": ["conv", "full_attention"]},
    "llama": {"num_key_value_heads": 2},
    "llama4_text": {
        "num_local_experts": 4,
        "intermediate_size_mlp": 48,
        "attention_chunk_size": 8,
        "no_rope_layers": [1, 0],
        "layer_types": ["chunked_attention", "full_attention"],
    },
    "longcat_flash": {
        **ROUTED,
        **LATENT,
        "num_layers": 1,
        "num_hidden_layers": 2,
        "head_dim": 4,
        "zero_expert_num": 2,
        "moe_topk": 2,
        "ffn_hidden_size": 48,
        "expert_ffn_hidden_size": 16,
    },
    "mamba": {"state_size": 8},
    "mamba2": {"num_heads": 8, "head_dim": 8, "state_size": 8, "chunk_size": 4, "n_groups": 1},
    "mellum": {**EXPERTS, **WINDOW},
    "mimo_v2_flash": {**ROUTED, **WINDOW, "v_head_dim": 8, "mlp_layer_types": ["dense", "sparse"]},
    "minicpm3": {**LATENT, "head_dim": 4, "dim_model_base": 16},
    "minimax_m2": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "ministral": WINDOW,
    "ministral3": {},
    "mistral": {"sliding_window": 8},
    "mixtral": {"num_local_experts": 4, "sliding_window": 8},
    "mpt": {"d_model": 32, "n_layers": 2, "n_heads": 4},
    "nanochat": {"final_logit_softcapping": 2.0},
    "nemotron": {"initializer_range": 0.1},
    "nemotron_h": {
        "layers_block_type": ["mamba", "attention", "moe", "mlp"],
        "num_hidden_layers": 4,
        **ROUTED,
        "ssm_state_size": 8,
        "mamba_num_heads": 8,
        "mamba_head_dim": 8,
        "n_groups": 1,
        "chunk_size": 4,
        "moe_shared_expert_intermediate_size": 16,
        "time_step_min": 1e-9,
        "use_mamba_kernels": False,
    },
    "olmo": {},
    "olmo2": {},
    "olmo3": WINDOW,
    "olmo_hybrid": DELTA,
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32, "dropout": 0.0},
    "persimmon": {},
    "phi": {},
    "phi3": {"sliding_window": 8},
    "phimoe": {"num_local_experts": 4, "sliding_window": 8, "lm_head_bias": True, "router_jitter_noise": 0.0},
    "qwen2": {"tie_word_embeddings": True, "use_sliding_window": True, "max_window_layers": 0, **WINDOW},
    "qwen2_moe": {**EXPERTS, "shared_expert_intermediate_size": 16, "output_router_logits": True},
    "qwen3": {"use_sliding_window": True, "max_window_layers": 1, **WINDOW},
    "qwen3_5_moe_text": {**EXPERTS, **DELTA, "shared_expert_intermediate_size": 16},
    "qwen3_5_text": DELTA,
    "qwen3_moe": {**EXPERTS, "output_router_logits": True},
    "qwen3_next": {**EXPERTS, **DELTA, "shared_expert_intermediate_size": 16},
    "qwen4_exp_text": {
        **EXPERTS,
        **DELTA,
        "shared_expert_intermediate_size": 16,
        "hc_count": 2,
        "hc_lowrank": 4,
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 64,
        "indexer_compress_ratio": 2,
        "ngram_vocab_size_base": 32,
        "ple_embed_dim": 32,
        "ple_layer_ids": [1],
    },
    "seed_oss": {"head_dim": 8, "attention_dropout": 0.0, "residual_dropout": 0.0},
    "smollm3": {"no_rope_layers": [1, 0]},
    "solar_open": ROUTED,
    "stablelm": {},
    "starcoder2": {"sliding_window": 8},
    "vaultgemma": {**WINDOW, "query_pre_attn_scalar": 8, "final_logit_softcapping": 2.0},
    "xglm": {
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "d_model": 32,
        "num_layers": 2,
        "attention_heads": 4,
        "ffn_dim": 48,
    },
    "youtu": {**LATENT, "head_dim": 4},
    "zamba": {
        "num_hidden_layers": 3,
        "n_mamba_heads": 2,
        "mamba_d_state": 8,
        "mamba_dt_rank": 4,
        "layers_block_type": ["mamba", "hybrid", "hybrid"],
        "use_mamba_kernels": False,
        "attention_head_dim": 16,
        "num_key_value_heads": 4,
    },
    "zamba2": {
        "num_hidden_layers": 3,
        "n_mamba_heads": 8,
        "mamba_d_state": 8,
        "mamba_headdim": 8,
        "time_step_min": 1e-9,
        "layers_block_type": ["mamba", "hybrid", "mamba"],
        "chunk_size": 4,
        "use_mamba_kernels": False,
        "num_key_value_heads": 4,
    },
    "zaya": {**EXPERTS, "num_experts_per_tok": 1, "router_hidden_size": 8},
}

# Their caches are of kinds that rows cannot be taken from.
PLAIN = {"deepseek_v4", "falcon_mamba", "mamba", "mamba2", "mpt"}

# TRL's load-balancing loss looks for names that these do not use.
NO_ROUTER_LOSS = {
    "deepseek_v4",
    "doge",
    "flint",
    "granitemoe",
    "granitemoehybrid",
    "granitemoeshared",
    "llama4_text",
    "phimoe",
}

# One of each kind: the others run with the slow tests.
QUICK = (
    "cohere2",
    "deepseek_v3",
    "falcon_h1",
    "gemma2",
    "gemma3n_text",
    "gpt2",
    "gpt_oss",
    "granite",
    "llama",
    "llama4_text",
    "mamba2",
    "minicpm3",
    "olmo2",
    "phimoe",
    "qwen2",
    "qwen3",
    "qwen3_moe",
    "qwen3_next",
)

# What cannot be trained, with a part of the sentence that says why.
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "bert": ({"initializer_range": 1.0}, "reads ahead"),
    "inkling_text": ({**ROUTED, "swa_head_dim": 8, "mlp_layer_types": ["dense", "sparse"]}, "divides its logits"),
    "minimax": (
        {"num_local_experts": 4, "layer_types": ["linear_attention", "full_attention"], "block_size": 4},
        "reads padding as text",
    ),
    "modernbert-decoder": ({"initializer_range": 1.0}, "more to its logits"),
    "recurrent_gemma": ({"block_types": ["recurrent", "attention"], "lru_width": 32}, "caps its logits"),
    "rwkv": ({"attention_hidden_size": 32}, "reads padding as text"),
    "t5": ({"d_model": 32}, "encoder-decoder"),
    "xlstm": ({"num_heads": 4}, "caps its logits"),
}


def settings_of(family: str) -> PreTrainedConfig:
    """The config of a tiny model of the family."""
    settings = REFUSED[family][0] if family in REFUSED else FAMILIES[family]
    known = _known(CONFIG_MAPPING[family])
    common = {name: value for name, value in SIZES.items() if name in known}
    return CONFIG_MAPPING[family](**{**common, **settings})


def build(family: str, *, seed: int = 0) -> PreTrainedModel:
    """A tiny model of the family, in evaluation mode, with the vocabulary of the tests' tokenizer and to spare."""
    config = settings_of(family)
    torch.manual_seed(seed)
    auto: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    model = auto.from_config(config).eval()
    # A fresh table's row for padding is zero, where Gemma 3n's norms have no gradient; a trained one's is not.
    torch.nn.init.normal_(model.get_input_embeddings().weight.data[0], std=0.2)
    return model


def _known(config: type[PreTrainedConfig]) -> set[str]:
    """The sizes a config has under these names; where it only maps them to names of its own, the table says those."""
    mapped = config.attribute_map
    return {name for name in inspect.signature(config).parameters if name not in mapped}
