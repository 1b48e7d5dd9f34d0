"""Trains a tiny model on whatever devices it is launched with, resumes it, and leaves what it saw in a file.

accelerate launch --config_file recipes/accelerate/ENGINE.yaml train_tiny.py FOLDER [ATTENTION, or vllm]
"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from conftest import make_model, make_tokenizer
from datasets import Dataset

from mot_trl import MoTGRPOConfig, MoTGRPOTrainer

STEPS = 4
GROUP = 4


def letters(completions: list[list[dict[str, str]]], **_: object) -> list[float]:
    return [float(sum(map(ord, completion[0]["content"])) % 7) for completion in completions]


def train(folder: Path, attention: str, *, resume: str | None = None) -> tuple[MoTGRPOTrainer, list[dict[str, Any]]]:
    """The trainer after `STEPS` steps with a checkpoint in the middle, and what each step logged."""
    cuda, vllm = torch.cuda.is_available(), attention == "vllm"
    config = MoTGRPOConfig(
        str(folder / "run"),
        strategy="dirichlet",
        mixture_k=3,
        strategy_kwargs={"min_prob": 0.01},
        per_device_train_batch_size=GROUP,
        num_generations=GROUP,
        max_completion_length=16,
        max_steps=STEPS,
        learning_rate=1e-3,
        logging_steps=1,
        save_strategy="steps",
        save_steps=STEPS // 2,
        report_to=[],
        bf16=cuda,
        use_cpu=not cuda,
        gradient_checkpointing=False,
        disable_tqdm=True,
        use_vllm=vllm,
        vllm_max_model_length=128 if vllm else None,
        model_init_kwargs={
            "attn_implementation": "sdpa" if vllm else attention,
            "dtype": "bfloat16" if cuda else "float32",
        },
    )
    texts = [f"Count to {number}." for number in range(16 * STEPS)]
    torch.manual_seed(0)
    trainer = MoTGRPOTrainer(
        str(folder / "model"),
        letters,
        config,
        train_dataset=Dataset.from_dict({"prompt": [[{"role": "user", "content": text}] for text in texts]}),
        processing_class=make_tokenizer(),
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer, [entry for entry in trainer.state.log_history if "loss" in entry]


def main(folder: Path, attention: str) -> None:
    trainer, whole = train(folder, attention)
    trainer.save_model(str(folder / "saved"))
    trainer, resumed = train(folder, attention, resume=str(folder / "run" / f"checkpoint-{STEPS // 2}"))
    if trainer.is_world_process_zero():
        seen = {"processes": trainer.args.world_size, "whole": whole, "resumed": resumed}
        (folder / "seen.json").write_text(json.dumps(seen))
    trainer.end()


def save_model(folder: Path) -> None:
    """What every process begins with; heads wide enough for flash-attention."""
    model = make_model(hidden_size=128, num_attention_heads=4, num_key_value_heads=2, head_dim=32)
    model.to(torch.bfloat16 if torch.cuda.is_available() else torch.float32).save_pretrained(folder / "model")
    make_tokenizer().save_pretrained(folder / "model")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "sdpa")
