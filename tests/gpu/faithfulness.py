"""Gap between the log-probabilities of generation and of replay, for each strategy, attention and precision."""

import itertools
import sys

import torch
from results import DEVICE, write

from conftest import make_model  # isort: skip
from replaying import decode, drawn, replay, with_heads  # isort: skip

from mot_trl.strategies import build_strategy

STRATEGIES = ("one_token", "top_k", "dirichlet", "gumbel_softmax", "multiplex", "without_replacement")
ATTENTIONS = ("eager", "sdpa", "flash_attention_2", "flex_attention") if DEVICE == "cuda" else ("eager", "sdpa")
# Precision, and the greatest mean gap in nats: in bfloat16 a rounding that falls the other way moves a logit by 2^-8.
LARGEST_GAPS = {torch.float32: 1e-4, torch.bfloat16: 0.2}


def gap(name: str, attention: str, dtype: torch.dtype) -> dict[str, float]:
    """Mean and greatest absolute gap, in nats, over the positions that were drawn."""
    strategy = build_strategy(name, **({} if name == "one_token" else {"k": 3}))
    model = make_model(hidden_size=128, num_attention_heads=4, head_dim=32, attn_implementation=attention)
    model = with_heads(model.to(DEVICE, dtype), strategy)
    sequences, mask, prompt_length, rollout = decode(model, strategy)
    gaps = (replay(model, strategy, sequences, mask, prompt_length, rollout) - rollout.logps).abs()
    gaps = gaps[drawn(mask, prompt_length, rollout)]
    return {"mean_gap": gaps.mean().item(), "max_gap": gaps.max().item(), "draws": gaps.numel()}


def check(name: str, attention: str, dtype: torch.dtype) -> bool:
    """Write the case's line; whether it is faithful, or its kernel is not installed."""
    case = {"strategy": name, "attention": attention, "dtype": str(dtype)}
    try:
        figures = gap(name, attention, dtype)
    except Exception as error:
        # One kernel that fails must not hide the others.
        write("faithfulness", **case, error=f"{type(error).__name__}: {error}"[:300])
        return isinstance(error, ImportError)
    write("faithfulness", **case, **figures)
    return figures["draws"] > 0 and figures["mean_gap"] < LARGEST_GAPS[dtype]


def main() -> None:
    """Check every case, and exit with 1 if one is unfaithful."""
    cases = itertools.product(STRATEGIES, ATTENTIONS, LARGEST_GAPS)
    # Flash-attention has no float32.
    served = [case for case in cases if case[1:] != ("flash_attention_2", torch.float32)]
    # A list: the cases behind an unfaithful one are run, too.
    verdicts = [check(*case) for case in served]
    sys.exit(not all(verdicts))


if __name__ == "__main__":
    main()
