"""Reward functions whose errors say whose they are."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn


def named(reward_func: Any, name: str) -> Any:
    """The same reward function, whose exceptions become a `RuntimeError` with its name, the cause beside it.

    Reward models are modules, and stay what they are.
    """
    if isinstance(reward_func, nn.Module):
        return reward_func
    if _is_async(reward_func):
        return _named_async(reward_func, name)

    @functools.wraps(reward_func)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return reward_func(*args, **kwargs)
        except Exception as error:
            raise _blaming(name, error) from error

    return call


def _is_async(function: Any) -> bool:
    """As `trl.trainer.utils.is_async_callable`, which decides how TRL calls the function."""
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(function.__call__)


def _named_async(reward_func: Callable[..., Any], name: str) -> Any:
    @functools.wraps(reward_func)
    async def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return await reward_func(*args, **kwargs)
        except Exception as error:
            raise _blaming(name, error) from error

    return call


def _blaming(name: str, error: Exception) -> RuntimeError:
    return RuntimeError(
        f"The reward function {name!r} raised {type(error).__name__}: {error}. Let it return None for what it cannot "
        "judge."
    )
