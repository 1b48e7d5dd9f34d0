"""Prepares processes that vLLM starts for Model Runner V2 on a CPU, where this folder is on their path."""

import vllm_on_cpu  # noqa: F401
