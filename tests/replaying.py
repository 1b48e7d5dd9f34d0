"""Generate with mixtures, and replay what was generated as the trainer does."""

import torch
from conftest import make_tokenizer
from torch import Tensor
from transformers import PreTrainedModel
from trl.trainer.utils import add_fused_lm_head

from mot_trl import MixtureDecoder, Rollout, build_phases
from mot_trl.generation.phases import BudgetRule, Phases
from mot_trl.generation.stop_text import TextRule
from mot_trl.modeling.candidate_head import add_candidate_head
from mot_trl.strategies import Strategy
from mot_trl.trainer.replay import ReplayModel

TEMPERATURE = 0.8
PROMPTS = ["Hi", "Hi", "Tell me a story about seven goats", "Tell me a story about seven goats", "2+2="]


def decode(
    model: PreTrainedModel,
    strategy: Strategy,
    *,
    prompts: list[str] = PROMPTS,
    seed: int = 0,
    phases: Phases | None = None,
    **settings: object,
) -> tuple[Tensor, Tensor, int, Rollout]:
    """Sequences and their mask, the length of the prompts, and the record."""
    tokenizer = make_tokenizer()
    inputs = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left").to(model.device)
    names = {"stop_text", "start_text", "max_mixture_tokens"} & set(settings)
    named = {name: settings.pop(name) for name in names}
    decoder = MixtureDecoder(strategy, phases or build_phases(tokenizer, **named))
    torch.manual_seed(seed)
    options = {"max_new_tokens": 12, "do_sample": True, "temperature": TEMPERATURE, "top_k": 0, **settings}
    sequences = model.generate(**inputs, custom_generate=decoder, **options)
    prompt_length = inputs["input_ids"].size(1)
    end_ids = torch.tensor(options.get("eos_token_id", 2), dtype=torch.long, device=model.device)
    ends = torch.isin(sequences[:, prompt_length:], end_ids)
    after_end = (ends.cumsum(-1) - ends.long()) > 0
    mask = torch.cat([inputs["attention_mask"], (~after_end).long()], dim=1)
    assert decoder.rollout is not None
    return sequences, mask, prompt_length, decoder.rollout


def replay(
    model: PreTrainedModel, strategy: Strategy, sequences: Tensor, mask: Tensor, prompt_length: int, rollout: Rollout
) -> Tensor:
    """Log-probability of each draw, as the trainer computes it."""
    labels = sequences.masked_fill(mask == 0, -100)
    labels[:, :prompt_length] = -100
    outputs = ReplayModel(model, rollout, strategy, "density")(
        input_ids=sequences, attention_mask=mask, labels=labels, fused_lm_head=True
    )
    return outputs.log_probs[:, prompt_length - sequences.size(1) :].detach()


def with_heads(model: PreTrainedModel, strategy: Strategy) -> PreTrainedModel:
    add_fused_lm_head(model, temperature=TEMPERATURE, outputs=("log_probs", "entropy"))
    add_candidate_head(model, strategy, temperature=TEMPERATURE)
    return model


def drawn(mask: Tensor, prompt_length: int, rollout: Rollout) -> Tensor:
    return mask[:, prompt_length:].bool() & ~rollout.forced_mask


def one_of(token_ids: range) -> TextRule:
    """A rule that fires at any of some tokens."""
    return TextRule(torch.zeros(1, 260, dtype=torch.int16).index_fill(1, torch.tensor(token_ids), 1))


def many_spans(*, total: int = 9) -> Phases:
    """Thinking that a third of the tokens end, or a budget of 3, and another third begin again."""
    rules = (one_of(range(0, 259, 3)), BudgetRule(3), BudgetRule(total, in_all=True))
    return Phases(rules, closing_ids=(3, 6), restart=one_of(range(1, 259, 3)))


def spans(rollout: Rollout) -> Tensor:
    """How many spans of thinking each row has."""
    before = torch.nn.functional.pad(rollout.thinking_mask, (1, 0))[:, :-1]
    return (rollout.thinking_mask & ~before).sum(dim=1)
