"""Other kernels, the same products."""

import pytest
import torch
from conftest import make_model
from peft import LoraConfig, get_peft_model
from torch import nn

from mot_trl import kernels
from mot_trl.kernels import onednn_linears

needs_onednn = pytest.mark.skipif(not kernels._has_onednn(), reason="oneDNN has no AVX-512 here")


@pytest.fixture(autouse=True)
def _all_layers_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "LEAST_WEIGHTS", 1)


@needs_onednn
@pytest.mark.parametrize("lora", [False, True])
def test_logits_are_the_same_and_the_model_is_left_as_it_was(lora: bool) -> None:
    model = make_model(attention_bias=True)
    nn.init.normal_(model.model.layers[0].self_attn.o_proj.bias)
    if lora:
        model = get_peft_model(model, LoraConfig(target_modules=["q_proj", "lm_head"], init_lora_weights=False))
    ids = torch.randint(3, 259, (3, 7))

    with torch.no_grad():
        plain = model(ids).logits
        with onednn_linears(model):
            patched = [module for module in model.modules() if "forward" in vars(module)]
            ours = model(ids).logits
        after = model(ids).logits

    assert len(patched) >= 15
    assert torch.allclose(ours, plain, atol=1e-5)
    assert torch.equal(after, plain)
    assert not any("forward" in vars(module) for module in model.modules() if type(module) is nn.Linear)


@needs_onednn
def test_autocast_and_other_dtypes_go_their_own_way() -> None:
    layer = nn.Linear(64, 64)
    inputs = torch.randn(3, 64)

    with torch.no_grad(), onednn_linears(layer), torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(inputs).dtype == torch.bfloat16
    with torch.no_grad(), onednn_linears(layer.bfloat16()):
        assert "forward" not in vars(layer)


@needs_onednn
def test_what_is_not_pytorchs_own_is_left_alone() -> None:
    class Own(nn.Linear):
        pass

    hooked = nn.Linear(8, 8)
    hooked.forward = forward = hooked.forward
    model = nn.ModuleList([Own(8, 8), hooked, nn.Linear(8, 8, device="meta")])

    with onednn_linears(model):
        assert [vars(layer).get("forward") for layer in model] == [None, forward, None]
    assert vars(hooked)["forward"] is forward


@needs_onednn
def test_it_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.Linear(8, 8)
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)

    with onednn_linears(layer):
        assert "forward" not in vars(layer)
