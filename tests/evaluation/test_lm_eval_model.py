"""The model type `mot` builds its decoder from the harness's arguments; the harness itself is a stand-in here."""

import runpy
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from conftest import make_model, make_tokenizer

from mot_trl.generation.config import DecoderConfig

CARRIED = DecoderConfig(strategy="multiplex", stop_text="####", max_mixture_tokens=4)


class HFLM:
    """What the harness's own class leaves behind; it refuses arguments that it does not know."""

    def __init__(self, pretrained: str, *, mixture: dict[str, Any] | None = None, batch_size: int = 1) -> None:
        self.model, self.tokenizer, self.think_end_token = make_model(), make_tokenizer(), None
        self.batch_size = batch_size
        if mixture is not None:
            self.model.generation_config.mixture = mixture


@pytest.fixture
def mot(monkeypatch: pytest.MonkeyPatch) -> Any:
    names = {"__main__": {"cli_evaluate": None}, "models.huggingface": {"HFLM": HFLM}}
    names["api.registry"] = {"register_model": lambda _: lambda kind: kind}
    for name in ("lm_eval", "lm_eval.api", "lm_eval.models", *(f"lm_eval.{name}" for name in names)):
        module = ModuleType(name)
        vars(module).update(names.get(name.removeprefix("lm_eval."), {}))
        monkeypatch.setitem(sys.modules, name, module)
    return runpy.run_module("mot_trl.evaluation.lm_eval_harness")["MoTLM"]


def test_every_field_of_the_decoder_is_an_argument(mot: Any) -> None:
    given = {"stop_text": "!", "start_text": "?", "max_mixture_tokens": 4, "cold_stop_threshold": 0.1}

    model = mot("path", strategy="dirichlet:k=3", cold_stop_patience=7, batch_size=2, **given)

    wanted = DecoderConfig("dirichlet", {"k": 3}, cold_stop_patience=7, **given)
    assert model.settings == wanted
    assert model.batch_size == 2
    assert model.think_end_token == "!"


def test_arguments_override_what_the_checkpoint_carries(mot: Any) -> None:
    assert mot("path", mixture=CARRIED.to_dict()).settings == CARRIED
    changed = mot("path", mixture=CARRIED.to_dict(), strategy="top_k", max_mixture_tokens=2).settings

    assert changed == DecoderConfig("top_k", stop_text="####", max_mixture_tokens=2)


@pytest.mark.parametrize(("strategy", "message"), [(None, "name a strategy"), ("telepathy", "Unknown strategy")])
def test_a_missing_or_unknown_strategy_is_refused(mot: Any, strategy: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mot("path", strategy=strategy)


def test_the_model_generates_mixtures_even_where_the_task_asks_for_greedy_decoding(mot: Any) -> None:
    prompt = torch.tensor([make_tokenizer().encode("Why?")] * 2)
    made = [mot("path", strategy="dirichlet", greedy=greedy) for greedy in (False, True)]

    sampled, greedy = (each._model_generate(prompt, 40, ["\n\n", ""], do_sample=False) for each in made)

    assert torch.equal(greedy[0], greedy[1])
    assert not torch.equal(sampled[0], sampled[1])
