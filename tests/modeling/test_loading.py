"""Mixtures are right under each attention, and the fastest available one is chosen."""

from pathlib import Path

import pytest
import torch
from conftest import make_model
from replaying import decode, drawn, replay, with_heads
from transformers import AutoConfig, LlamaConfig

from mot_trl import build_strategy
from mot_trl.modeling import loading
from mot_trl.modeling.loading import HUB_KERNEL, choose_attention, load_model


@pytest.mark.parametrize("implementation", ["eager", "sdpa", "flex_attention"])
# On a CPU flex attention has no backward pass, and what PyTorch 2.13 generates for its forward does not compile.
@torch.compiler.set_stance("force_eager")
def test_padded_mixtures_replay_and_score_the_same_under_each(implementation: str, tmp_path: Path) -> None:
    strategy = build_strategy("dirichlet", k=3)
    make_model(hidden_size=64).save_pretrained(tmp_path)
    expected = decode(load_model(str(tmp_path), attn_implementation="eager"), strategy)

    model = with_heads(load_model(str(tmp_path), attn_implementation=implementation), strategy)
    model.requires_grad_(False)
    own = decode(model, strategy)

    assert model.config._attn_implementation == implementation
    for sequences, mask, prompt_length, rollout in (own, expected):
        assert (mask[:, 0] == 0).any()
        assert rollout.mixture_mask.any()
        where = drawn(mask, prompt_length, rollout)
        logps = replay(model, strategy, sequences, mask, prompt_length, rollout)
        assert torch.allclose(logps[where], rollout.logps[where], atol=1e-4)


def test_auto_is_sdpa_on_a_cpu_and_eager_for_models_that_have_only_that(tmp_path: Path) -> None:
    make_model().save_pretrained(tmp_path)

    model = load_model(str(tmp_path), dtype="bfloat16", device="cpu", gradient_checkpointing=True)

    assert model.config._attn_implementation == "sdpa"
    assert model.dtype == torch.bfloat16
    assert model.is_gradient_checkpointing
    assert choose_attention(AutoConfig.for_model("bloom"), device="cpu") == "eager"


@pytest.mark.parametrize(
    ("capability", "installed", "dtype", "expected"),
    [
        ((9, 0), {"3", "2"}, "bfloat16", "flash_attention_3"),
        ((9, 0), {"2"}, torch.float16, "flash_attention_2"),
        ((8, 0), {"3", "2"}, "auto", "flash_attention_2"),
        ((8, 6), {"kernels"}, "bfloat16", HUB_KERNEL),
        ((8, 0), set(), "bfloat16", "sdpa"),
        ((7, 5), {"2", "kernels"}, "float16", "sdpa"),
        ((9, 0), {"3", "2"}, "float32", "sdpa"),
    ],
)
def test_attention_follows_from_gpu_dtype_and_installed_packages(
    capability: tuple[int, int],
    installed: set[str],
    dtype: str | torch.dtype,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(loading, "is_flash_attn_3_available", lambda: "3" in installed)
    monkeypatch.setattr(loading, "is_flash_attn_2_available", lambda: "2" in installed)
    monkeypatch.setattr(loading, "is_kernels_available", lambda: "kernels" in installed)

    assert choose_attention(LlamaConfig(dtype="bfloat16"), dtype=dtype) == expected
