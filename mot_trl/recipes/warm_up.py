"""Supervised fine-tuning of nano on conversations with tools, before reinforcement learning with them."""

from pathlib import Path
from typing import Any

from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from mot_trl.tasks.agents import AGENTS, nano
from mot_trl.tasks.nano.model import load_nano

CONVERSATIONS = 1_500
SETTINGS: dict[str, Any] = {
    "per_device_train_batch_size": 32,
    "dataloader_pin_memory": False,
    "num_train_epochs": 1,
    "learning_rate": 2e-3,
    "logging_steps": 10,
    "save_strategy": "no",
    "report_to": "none",
    "bf16": False,
    "gradient_checkpointing": False,
    "completion_only_loss": True,
}


def warm_up(task: str, folder: Path, *, seed: int = 0, **overrides: Any) -> Path:
    """Save nano, fine-tuned to call the tools of a task, to a folder; keep what is there already."""
    if (folder / "config.json").exists():
        return folder
    model, tokenizer = load_nano()
    nano.add_tools(tokenizer)
    model.resize_token_embeddings(len(tokenizer))
    turns = nano.demonstrations(task, AGENTS[task].load(CONVERSATIONS, seed=seed), seed=seed)
    rows = Dataset.from_list([turn._asdict() for turn in turns]).shuffle(seed=seed)
    config = SFTConfig(str(folder), seed=seed, **{**SETTINGS, **overrides})
    trainer = SFTTrainer(model, config, train_dataset=rows, processing_class=tokenizer)
    trainer.train()
    trainer.save_model(str(folder))
    return folder
