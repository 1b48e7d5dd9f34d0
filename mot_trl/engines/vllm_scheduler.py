"""vLLM's scheduler, whose prefix cache never answers a request with another one's mixtures."""

import os
from collections.abc import Callable
from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler  # ty: ignore[import-not-found]


class MixtureScheduler(AsyncScheduler):
    """Shares the blocks of prompts as vLLM does; those behind a prompt are found by their own request alone.

    vLLM finds cached blocks by their visible tokens, and two requests with the same tokens may have been fed other
    mixtures. A request that comes back after a preemption was fed its own. The base class serves synchronous
    scheduling, too.
    """

    def add_request(self, request: Any) -> None:
        """Give the blocks behind the prompt, which are hashed from now on, names that no other request has."""
        if request._block_hasher is not None:
            request._block_hasher = _salted(request._block_hasher)
        super().add_request(request)


def _salted(hash_blocks: Callable[[Any], list[bytes]]) -> Callable[[Any], list[bytes]]:
    salt = os.urandom(16)
    # Each hash covers the one before it, so all that follow are the request's own as well.
    return lambda request: [block_hash + salt for block_hash in hash_blocks(request)]
