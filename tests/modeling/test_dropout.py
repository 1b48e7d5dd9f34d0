"""A model whose passes differ is told from one whose passes agree."""

import pytest
import torch
from conftest import make_model
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from mot_trl.modeling.dropout import has_dropout


def gpt2(**rates: float) -> PreTrainedModel:
    config = AutoConfig.for_model("gpt2", n_embd=8, n_layer=1, n_head=2, vocab_size=16, **rates)
    return AutoModelForCausalLM.from_config(config)


OFF = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
MODELS = {
    "none": lambda: make_model(),
    "of attention": lambda: make_model(attention_dropout=0.1),
    "of a module": lambda: gpt2(),
    "of a module, off": lambda: gpt2(**OFF),
    "of embeddings alone": lambda: gpt2(**{**OFF, "embd_pdrop": 0.1}),
    "of an adapter": lambda: get_peft_model(make_model(), LoraConfig(lora_dropout=0.1, init_lora_weights=False)),
    "of an adapter, off": lambda: get_peft_model(make_model(), LoraConfig(lora_dropout=0.0)),
}


@pytest.mark.parametrize("name", MODELS)
def test_passes_in_training_mode_differ_where_it_says_so(name: str) -> None:
    model = MODELS[name]().train()
    input_ids = torch.arange(12).unsqueeze(0)

    with torch.no_grad():
        first, second = (model(input_ids).logits for _ in range(2))

    assert has_dropout(model) == (not torch.equal(first, second))
    assert has_dropout(model) == ("off" not in name and name != "none")
