"""Refuse, before the first step, what cannot be trained with mixtures."""

from collections.abc import Mapping
from typing import Any

import torch
from datasets import Dataset, IterableDataset
from peft.utils import TrainableTokensWrapper
from transformers import ProcessorMixin

from mot_trl.modeling.distributed import is_offloaded
from mot_trl.rewards.signature import check_reward
from mot_trl.trainer.config import MoTGRPOConfig


def check_config(args: Any) -> None:
    """Check that a config has the fields of this library.

    Raises:
        TypeError: It is not a `MoTGRPOConfig`.
    """
    if not isinstance(args, MoTGRPOConfig):
        raise TypeError(f"`args` must be a `mot_trl.MoTGRPOConfig`, which takes all that {type(args).__name__} does.")


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Check the arguments of `GRPOTrainer`, by name, before any model is loaded.

    Raises:
        ValueError: The model cannot think in mixtures, or there is nothing to train on.
    """
    _check_tools(arguments)
    _check_adapter(arguments.get("peft_config"))
    _check_rewards(arguments)
    # An environment may bring the prompts itself.
    optional = bool(arguments.get("environment_factory"))
    for name in ("train_dataset", "eval_dataset"):
        rows = arguments.get(name)
        for each in rows.values() if isinstance(rows, Mapping) else [rows]:
            _check_prompts(each, name, optional=optional)
    if isinstance(arguments.get("model"), torch.nn.Module):
        _check_decoder_only(arguments["model"])


def check_policy(policy: Any, *, mixture_k: int | None) -> None:
    """Check the model, perhaps in PEFT's wrapper, that TRL has set up.

    Raises:
        ValueError: It is an encoder-decoder, its adapter learns prompts, its weights are offloaded, its head cannot be
            read by TRL's loss, or `mixture_k` is too large.
    """
    model = base_model(policy)
    check_adapters(policy)
    # Again, because a model that was given by name is loaded only now.
    _check_decoder_only(model)
    if is_offloaded(model):
        raise ValueError(
            f"Some weights of {type(model).__name__} are offloaded to main memory or disk, where nothing trains them; "
            "load it with `device_map=None`, or use a smaller model or more GPUs."
        )
    if isinstance(model.get_output_embeddings(), TrainableTokensWrapper):
        raise ValueError(
            f"The head of {type(model).__name__} is tied to its embeddings, so `trainable_token_indices` trains its "
            'rows too, where TRL\'s loss reads only its weight. Use `modules_to_save=["embed_tokens"]` instead.'
        )
    vocabulary = model.config.get_text_config().vocab_size
    if mixture_k is not None and mixture_k > vocabulary:
        raise ValueError(f"`mixture_k={mixture_k}` is beyond the vocabulary of {vocabulary} tokens.")


def check_images(rows: Any, processing_class: Any) -> None:
    """Check that there is a processor for the rows' images, which only vision-language models have.

    Raises:
        ValueError: There are images, and a tokenizer alone.
    """
    columns = (rows.column_names or []) if isinstance(rows, Dataset | IterableDataset) else []
    if {"image", "images"} & set(columns) and not isinstance(processing_class, ProcessorMixin):
        raise ValueError(
            "`train_dataset` has images, and the model reads text alone: take a vision-language model, such as "
            "Qwen/Qwen2.5-VL-3B-Instruct, or `remove_columns`."
        )


def check_adapters(policy: Any) -> None:
    """Check the adapters of a model in PEFT's wrapper.

    Raises:
        ValueError: One of them learns prompts.
    """
    for adapter in getattr(policy, "peft_config", {}).values():
        _check_adapter(adapter)


def base_model(model: Any) -> Any:
    """Unwrap the transformers model inside PEFT's wrapper, if there is one."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _check_prompts(rows: Any, argument: str, *, optional: bool) -> None:
    if not isinstance(rows, Dataset | IterableDataset):
        return
    # A streamed dataset does not know how many rows it has, nor always its columns: its first row shows them.
    columns = rows.column_names or list(next(iter(rows), {}))
    if (isinstance(rows, Dataset) and not len(rows)) or not columns:
        raise ValueError(f"`{argument}` has no rows, so there is nothing to learn from; check how it was filtered.")
    if "prompt" not in columns and not optional:
        raise ValueError(
            f"`{argument}` needs a column `prompt` (a text, or a list of messages), and has {columns}; use "
            "`rename_column`."
        )


def _check_tools(arguments: Mapping[str, Any]) -> None:
    called = [name for name in ("tools", "environment_factory") if arguments.get(name)]
    engines = [
        name for name in ("use_vllm", "use_transformers_continuous_batching") if getattr(arguments["args"], name)
    ]
    if called and engines:
        raise ValueError(
            f"With `{called[0]}`, a later turn reads earlier thoughts again, which a request to an engine cannot say: "
            f"leave out `{engines[0]}`, or set `normal_generation=True` to train without mixtures."
        )


def _check_rewards(arguments: Mapping[str, Any]) -> None:
    rewards, rows = arguments.get("reward_funcs"), arguments.get("train_dataset")
    # An environment may bring columns itself, and a streamed dataset need not know its own.
    known = isinstance(rows, Dataset) and not arguments.get("environment_factory")
    for reward in rewards if isinstance(rewards, list) else [rewards]:
        # Models judge by themselves.
        if callable(reward) and not isinstance(reward, torch.nn.Module):
            check_reward(reward, rows.column_names if known else None)


def _check_adapter(config: Any) -> None:
    # Prompt, prefix and p-tuning, and whatever else puts learned inputs before the model's own.
    if config is not None and config.is_prompt_learning:
        raise ValueError(
            f"{type(config).__name__} learns inputs that are embedded outside of the model, where no mixture is "
            "replayed: use LoRA instead."
        )


def _check_decoder_only(model: Any) -> None:
    if model.config.is_encoder_decoder:
        raise ValueError(
            f"{type(model).__name__} is an encoder-decoder model; mixtures need a decoder-only one, such as Qwen or "
            "LLaMA. Set `normal_generation=True` to train without mixtures."
        )
