"""Change a model for the time of a call, shared by all calls under way, whichever ends last."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Lock
from typing import Any, ClassVar, Generic, Self, TypeVar
from weakref import WeakKeyDictionary

from torch import nn

T = TypeVar("T")

# Held while a patch is put in place or taken away, never during a call.
_LOCK = Lock()


class Calls(Generic[T]):
    """What calls under way have set for their duration; seen by their own thread alone, and their own asyncio task."""

    def __init__(self, name: str) -> None:
        self._entries: ContextVar[tuple[list[T], ...]] = ContextVar(name, default=())

    @contextmanager
    def enter(self, value: T) -> Generator[T]:
        """Set a value until the context is closed, in whichever order and thread that happens."""
        entry = [value]
        self._entries.set((*self._entries.get(), entry))
        try:
            yield value
        finally:
            # Emptied, too: a generator that is collected in another thread does not see its own entry there.
            entry.clear()
            self._entries.set(tuple(each for each in self._entries.get() if each))

    def innermost(self) -> Iterator[T]:
        """The values, those set last first."""
        return (value for entry in reversed(self._entries.get()) for value in entry)


class MethodPatch:
    """Stands for a module's method while any call of ours needs it, in every thread.

    A module is not the caller's alone: other threads call it meanwhile, and calls nest or end in any order. So all
    share one patch, which tells by itself whose call it serves, and serves others as `own`, the method itself, does.
    """

    name: ClassVar[str] = "forward"

    def __init__(self, module: nn.Module) -> None:
        self.module, self.own = module, getattr(module, self.name)
        # Set where something else has patched this instance already: it is called, and put back afterwards.
        self.replaced: Callable[..., Any] | None = vars(module).get(self.name)
        self.users = 0

    @classmethod
    @contextmanager
    def on(cls, module: nn.Module) -> Generator[Self]:
        """Put the patch in place; the last to leave restores the module's own method."""
        with _LOCK:
            present = vars(module).get(cls.name)
            patch = present if type(present) is cls else cls(module)
            patch.users += 1
            setattr(module, cls.name, patch)
        try:
            yield patch
        finally:
            with _LOCK:
                patch.users -= 1
                # A patch that somebody else has put on top calls this one, and is not ours to remove.
                if patch.users == 0 and vars(module).get(cls.name) is patch:
                    _restore(module, cls.name, patch.replaced)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Give a copy of the module, which outlives the call, its own method: behind an idle patch if it has one."""
        return (type(self), (self.module,)) if self.replaced is None else (_identity, (self.replaced,))


@dataclass
class _Held:
    """An attribute that calls hold at a value: how many they are, and what was there before; None for nothing."""

    users: int
    before: Any


_HELD: WeakKeyDictionary[nn.Module, dict[str, _Held]] = WeakKeyDictionary()


@contextmanager
def hold(modules: Iterable[nn.Module], name: str, value: Any) -> Generator[None]:
    """Keep an attribute of modules at a value; the last call to leave restores what the first one found."""
    modules = list(modules)
    with _LOCK:
        for module in modules:
            held = _HELD.setdefault(module, {}).setdefault(name, _Held(0, vars(module).get(name)))
            held.users += 1
            setattr(module, name, value)
    try:
        yield
    finally:
        with _LOCK:
            for module in modules:
                held = _HELD[module][name]
                held.users -= 1
                if held.users == 0:
                    _restore(module, name, _HELD[module].pop(name).before)


def evaluating(model: nn.Module) -> Any:
    """Evaluation mode: no dropout, and no gradient checkpointing, which would drop the cache.

    Each module returns to its own mode afterwards, unlike with `model.train()`, which sets them all. Layers of
    quantized weights on a CPU keep theirs; see `keeping_weights`.
    """
    return hold((module for module in model.modules() if not _may_repack(module)), "training", False)


def keeping_weights(model: nn.Module) -> Any:
    """Keep layers of quantized weights on a CPU in training mode, whatever the model's: so they stay as they are.

    bitsandbytes' 4-bit layers compute the same in both modes. But in evaluation mode on a CPU they repack their
    weights, for good, and no gradient passes them any more.
    """
    return hold(filter(_may_repack, model.modules()), "training", True)


def _may_repack(module: nn.Module) -> bool:
    """Whether a layer itself, not one inside of it, holds weights as integers or in 8 bits, on a CPU."""
    # Other buffers may hold positions or counts.
    weights = [*module._parameters.values(), *(each for name, each in module._buffers.items() if "weight" in name)]
    quantized = [w for w in weights if w is not None and (w.element_size() == 1 or not w.is_floating_point())]
    return any(weight.device.type == "cpu" for weight in quantized)


def _restore(module: nn.Module, name: str, before: Any) -> None:
    if before is None:
        delattr(module, name)
    else:
        setattr(module, name, before)


def _identity(value: Any) -> Any:
    return value
