"""Reinforcement learning of language models that think in mixtures of tokens, on an unmodified TRL."""

import sys
import warnings
from collections import ChainMap
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mot_trl.generation import Generation, MixtureDecoder, generate
    from mot_trl.generation.config import DecoderConfig, build_phases
    from mot_trl.generation.phases import Phases
    from mot_trl.modeling.conversation import Conversations
    from mot_trl.modeling.rollout import Rollout
    from mot_trl.strategies import STRATEGIES, Strategy, build_strategy
    from mot_trl.strategies.mixture import Mixture
    from mot_trl.strategies.presets import PRESETS
    from mot_trl.trainer import MoTGRPOConfig, MoTGRPOTrainer, MoTSFTConfig, MoTSFTTrainer

__version__ = "0.1.0"

# Where each public name lives. It is imported when first asked for: graders run in processes without torch.
_HOMES = {
    "PRESETS": "strategies.presets",
    "STRATEGIES": "strategies",
    "Conversations": "modeling.conversation",
    "DecoderConfig": "generation.config",
    "Generation": "generation",
    "Mixture": "strategies.mixture",
    "MixtureDecoder": "generation",
    "MoTGRPOConfig": "trainer",
    "MoTGRPOTrainer": "trainer",
    "MoTSFTConfig": "trainer",
    "MoTSFTTrainer": "trainer",
    "Phases": "generation.phases",
    "Rollout": "modeling.rollout",
    "Strategy": "strategies",
    "build_phases": "generation.config",
    "build_strategy": "strategies",
    "generate": "generation",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


# Modules that users of earlier versions may import, and the modules where their names are now.
_MOVED = {
    "attention": "modeling.loading",
    "callbacks": "trainer.callbacks",
    "config": "trainer.config",
    "embedding": "modeling.embedding",
    "export": "generation.custom_generate",
    "grading.extract": "rewards.answer",
    "grading.judge": "rewards.judge",
    "grading.maths": "rewards.math.equivalence",
    "harness": "evaluation.lm_eval_harness",
    "measuring": "evaluation.quick",
    "mixture": "strategies.mixture",
    "models": "tasks.nano.model",
    "phases": "generation.phases generation.stop_text generation.config",
    "plots": "traces.learning_curves",
    "presets": "strategies.presets",
    "rollout": "modeling.rollout",
    "settings": "generation.config",
    "show": "generation.formatting",
    "strategies.score": "strategies.surrogate",
    "tasks.counting": "tasks.shape_counting",
    "tasks.formats": "rewards.format",
    "tasks.maths": "tasks.math",
    "tasks.programs": "rewards.code",
    "tasks.reasoning_gym_callback": "tasks.reasoning_gym.callback",
    "tasks.reasoning_gym_curriculum": "tasks.reasoning_gym.curriculum",
    "training": "trainer.script_utils",
}

# Names that are different there.
_RENAMED = {
    "DataConfig": "ScriptArguments",
    "DecoderSettings": "DecoderConfig",
    "carry_decoder": "write_custom_generate",
    "measure": "evaluate_accuracy",
    "score": "surrogate",
    "show": "format_generation",
    "table": "accuracy_table",
    "train_to_end": "train_resumable",
}


class _Moved(MetaPathFinder, InspectLoader):
    """Serve a module by its old path, with a `DeprecationWarning`."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        """Find old paths only: moved modules, the former folder `grading` as an empty package, and `generate`."""
        package, _, name = fullname.partition(".")
        if package == __name__ and (name in _MOVED or name in ("grading", "generate")):
            return ModuleSpec(fullname, self, is_package=name == "grading")
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Look every name up in the module's new places."""
        if module.__name__ == f"{__name__}.generate":
            # An import binds the package's attribute to what stands here, and that must stay the function.
            sys.modules[module.__name__] = __getattr__("generate")
        new = [f"{__name__}.{home}" for home in _MOVED.get(module.__name__.partition(".")[2], "").split()]
        if new:
            warnings.warn(f"{module.__name__} is now {' and '.join(new)}.", DeprecationWarning, stacklevel=2)
            homes = [vars(import_module(name)) for name in new]
            vars(module)["__getattr__"] = partial(_look_up, module.__name__, ChainMap(*homes))

    def get_source(self, fullname: str) -> str:
        """Run the module in its new place, for `python -m` with the old path."""
        old = fullname.partition(".")[2]
        if old in ("generate", "plots"):
            return f"import sys\nfrom {__name__}.cli import main\nsys.exit(main(['{old}', *sys.argv[1:]]))"
        new = _MOVED[old].split()[0]
        return f"import runpy\nrunpy.run_module('{__name__}.{new}', run_name='__main__')"


def _look_up(module: str, names: Mapping[str, Any], name: str) -> Any:
    try:
        return names[name if name in names else _RENAMED[name]]
    except KeyError:
        raise AttributeError(f"module {module!r} has no attribute {name!r}") from None


sys.meta_path.append(_Moved())
