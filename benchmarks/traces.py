"""Measure the time that tracing takes, as a share of a training step: at the defaults, and tracing every step.

    python benchmarks/traces.py [--tokens 256] [--completions 16] [--steps 4]

Needs no download. The model has random weights and is small, so a step is short and the share of tracing large. The
first trace, which reads the tokenizer once, is included.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from mot_trl import MoTGRPOConfig, MoTGRPOTrainer
from mot_trl.traces.callback import TraceCallback


def main() -> None:
    """Train for a few steps, tracing each, and print the share of the step that tracing takes."""
    parser = argparse.ArgumentParser(description="Measure the cost of tracing.")
    for name, default in (("tokens", 256), ("completions", 16), ("steps", 4), ("hidden", 256), ("layers", 6)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    spent: list[float] = []
    for name in ("add_completions", "add_entropies", "on_train_end"):
        setattr(TraceCallback, name, timed(getattr(TraceCallback, name), spent))
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        trainer = make_trainer(options, folder)
        trainer.train()
        seconds = (time.perf_counter() - started) / options.steps
        size = sum(path.stat().st_size for path in Path(folder, "traces").iterdir()) / options.steps
    trace = sum(spent) / options.steps
    default = MoTGRPOConfig(folder, use_cpu=True, bf16=False).trace_steps
    print(f"{options.completions} completions x {options.tokens} tokens, 4 candidates: {size / 1e6:.2f} MB a trace")
    print(f"step {seconds:.2f} s, of which trace {trace * 1e3:.0f} ms")
    print(f"every step traced: {trace / (seconds - trace):.2%} of a step")
    print(f"every {default} steps (default): {trace / (seconds - trace) / default:.3%}")


def timed(method: Any, spent: list[float]) -> Any:
    """The method, appending its duration in seconds to `spent`."""

    def run(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return method(*args, **kwargs)
        finally:
            spent.append(time.perf_counter() - start)

    return run


def make_trainer(options: argparse.Namespace, folder: str) -> MoTGRPOTrainer:
    """A trainer that traces each step."""
    config = AutoConfig.for_model(
        "llama",
        vocab_size=259,
        hidden_size=options.hidden,
        intermediate_size=options.hidden * 3,
        num_hidden_layers=options.layers,
        num_attention_heads=8,
        num_key_value_heads=2,
        pad_token_id=0,
        eos_token_id=2,
    )
    args = MoTGRPOConfig(
        folder,
        strategy="dirichlet",
        mixture_k=4,
        max_completion_length=options.tokens,
        num_generations=options.completions // 2,
        per_device_train_batch_size=options.completions,
        max_steps=options.steps,
        trace_steps=1,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
    )
    return MoTGRPOTrainer(
        AutoModelForCausalLM.from_config(config),
        lambda completions, **_: [float(len(completion)) for completion in completions],
        args,
        train_dataset=Dataset.from_dict({"prompt": [f"Count to {number}:" for number in range(64)]}),
        processing_class=make_tokenizer(),
    )


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(["<|pad|>", "<|im_start|>", "<|im_end|>", *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<|pad|>", eos_token="<|im_end|>")


if __name__ == "__main__":
    main()
