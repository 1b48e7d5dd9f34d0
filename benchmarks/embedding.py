"""Looking mixtures up in an embedding table, forward and backward, against looking their visible tokens up.

    python benchmarks/embedding.py --dtype bfloat16

`blend` sums the K embeddings of each mixture, as the formula has it. Memory is the most that PyTorch's allocator holds
at once beside the table.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from common import arguments, ratio, report
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from mot_trl.modeling.weighted_lookup import weighted_lookup
from mot_trl.strategies.mixture import MixtureInputs, blend


def peak_bytes(call: Callable[[], object]) -> int:
    """The most memory that is held at once, of what a call allocates."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        call()
    now = peak = 0
    for event in profiled.profiler.kineto_results.events():
        now += event.nbytes() if event.name() == "[memory]" else 0
        peak = max(peak, now)
    return peak


def arms(table: nn.Embedding, ids: Tensor, inputs: MixtureInputs, *, gradient: bool) -> dict[str, Callable[[], Any]]:
    """A call for each way of looking up."""
    upstream = torch.randn(*ids.shape, table.embedding_dim, dtype=table.weight.dtype)

    def naive() -> Tensor:
        rows, length, k = inputs.candidate_ids.shape
        embeddings = table(torch.cat([ids, inputs.candidate_ids.flatten(1).to(ids.dtype)], dim=1))
        own, candidates = embeddings.split([length, length * k], dim=1)
        blends = blend(candidates.reshape(rows * length, k, -1), inputs.log_weights.flatten(0, 1))
        return torch.where(inputs.mixture_mask.unsqueeze(-1), blends.view_as(own), own)

    def run(lookup: Callable[[], Any]) -> Tensor:
        table.weight.grad = None
        with torch.set_grad_enabled(gradient):
            embeddings = lookup()
        if gradient:
            embeddings.backward(upstream)
        return embeddings

    lookups = {"mixtures": lambda: weighted_lookup(table, ids, inputs), "tokens": lambda: table(ids), "blend": naive}
    return {name: lambda each=each: run(each) for name, each in lookups.items()}


def seconds(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Times of calls that take turns, after one of each."""
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return times


def main() -> None:
    """Print the ratios of peak memory and of time for each number of candidates."""
    parser = arguments(__doc__)
    parser.add_argument("--vocabulary", type=int, default=49152)
    parser.add_argument("--hidden_size", type=int, default=576)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--new_tokens", type=int, default=256)
    parser.add_argument("--k", type=int, nargs="+", default=[1, 3, 8, 20, 64])
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    args = parser.parse_args()
    torch.manual_seed(0)
    table = nn.Embedding(args.vocabulary, args.hidden_size, dtype=getattr(torch, args.dtype))
    shape = (args.rows, args.new_tokens)
    for k in args.k:
        ids, candidate_ids = (torch.randint(args.vocabulary, size) for size in (shape, (*shape, k)))
        log_weights = torch.randn(*shape, k).log_softmax(dim=-1)
        inputs = MixtureInputs(candidate_ids.int(), log_weights, torch.ones(shape, dtype=torch.bool))
        for gradient in (False, True):
            calls = arms(table, ids, inputs, gradient=gradient)
            times = seconds(calls, args.repeats)
            peaks: dict[str, int] = {}
            for name, call in calls.items():
                table.weight.grad = None  # what is freed inside would count as memory won
                peaks[name] = peak_bytes(call)
            report(
                args.json,
                k=k,
                dtype=args.dtype,
                backward=gradient,
                memory_over_tokens=round(peaks["mixtures"] / peaks["tokens"], 2),
                memory_of_blend_over_tokens=round(peaks["blend"] / peaks["tokens"], 2),
                time_over_blend=ratio(times["mixtures"], times["blend"]),
                time_over_tokens=ratio(times["mixtures"], times["tokens"]),
            )


if __name__ == "__main__":
    main()
