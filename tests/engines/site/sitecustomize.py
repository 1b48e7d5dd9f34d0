"""Prepares processes that vLLM starts for Model Runner V2 on a CPU, where this folder is on their path."""

import sys

# What Python starts to clean up shared memory needs none of it, and importing vLLM takes long.
if not any("resource_tracker" in word for word in sys.orig_argv):
    import vllm_on_cpu  # noqa: F401
