"""One of several processes that train with vLLM engines of their own, or with one that they share."""

import json
import sys
from pathlib import Path

import vllm_on_cpu  # noqa: F401

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from test_vllm_training import any_reward, make_trainer


def main(folder: Path, tensor_parallel_size: int) -> None:
    def reward(completions: list[str], **columns: object) -> list[float]:
        # Random numbers of each process's own, whatever the seeds were: ranks that draw by themselves would part.
        torch.manual_seed(trainer.accelerator.process_index + 1)
        return any_reward(completions)

    torch.set_num_threads(1)
    trainer = make_trainer(folder, reward, vllm_tensor_parallel_size=tensor_parallel_size, max_mixture_tokens=4)
    trainer.train()
    if trainer.accelerator.is_main_process:
        (folder / "logs.json").write_text(json.dumps(trainer.state.log_history))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
