"""Training continues while its judge fails, and the judge keeps its server as busy as the limits allow."""

import asyncio
import math
from collections import deque

import pytest
from conftest import make_model
from datasets import Dataset
from mock_judge_server import Reply, error, serving, told, verdict
from transformers import PreTrainedTokenizerFast, TrainerCallback

from mot_trl.rewards.judge import JudgeReward, Limits
from mot_trl.trainer.config import MoTGRPOConfig
from mot_trl.trainer.grpo_trainer import MoTGRPOTrainer

# Imported now, for its seconds would count against the first batch's deadline.
pytest.importorskip("openai")

STEPS = 7
BROKEN_STEPS = range(3, 5)


class Clock(TrainerCallback):
    """The step that is under way."""

    step = 0

    def on_step_begin(self, args, state, control, **kwargs):
        self.step = state.global_step + 1


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["errors", "stalls"])
def test_a_grpo_run_survives_a_judge_that_fails_for_a_while(
    tmp_path, tokenizer: PreTrainedTokenizerFast, prompts: Dataset, fault
):
    clock = Clock()

    def behave(request):
        if clock.step in BROKEN_STEPS:
            return error(503) if fault == "errors" else Reply(delay=300)
        return verdict(str(len(told(request)["text"]) % 11))

    limits = Limits(deadline=6, try_seconds=2, retries=1, failures=3)
    arguments = MoTGRPOConfig(
        output_dir=str(tmp_path),
        max_steps=STEPS,
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=12,
        max_mixture_tokens=6,
        stop_text="!",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        bf16=False,
        use_cpu=True,
    )
    with serving(behave) as server:
        judge = JudgeReward("mock", base_url=server.url, rubric="Longer is better.", limits=limits)
        trainer = MoTGRPOTrainer(
            make_model(),
            [judge],
            arguments,
            train_dataset=prompts,
            processing_class=tokenizer,
            callbacks=[clock],
        )
        trainer.train()

    steps = [entry for entry in trainer.state.log_history if "quality_judge/calls" in entry]
    broken = [entry for number, entry in enumerate(steps, start=1) if number in BROKEN_STEPS]
    sound = [entry for number, entry in enumerate(steps, start=1) if number not in BROKEN_STEPS]
    assert trainer.state.global_step == len(steps) == STEPS
    assert all(math.isfinite(entry["loss"]) and math.isfinite(entry["grad_norm"]) for entry in steps)
    assert (
        sum(
            entry["quality_judge/failures"] + entry["quality_judge/late"] + entry["quality_judge/skipped"]
            for entry in broken
        )
        > 0
    )
    assert any(entry["quality_judge/unjudged"] for entry in broken)
    assert max(entry["quality_judge/seconds"] for entry in broken) < 60, "it waited for the server"
    assert [entry["quality_judge/unjudged"] for entry in sound] == [0] * len(sound)
    assert all(0 <= entry["rewards/quality_judge/mean"] <= 1 for entry in sound)
    assert judge.totals["errors"] == 0


def test_every_reply_makes_room_for_the_next_request_and_a_repeated_batch_makes_none():
    pairs, concurrency = 320, 32
    golds = [f"number {row} of the list" for row in range(pairs)]
    completions = [f"<answer>{gold}s</answer>" for gold in golds]
    held: deque[asyncio.Event] = deque()

    def behave(_request):
        """Release one reply once all places are taken: a judge that leaves one empty never finishes."""
        held.append(asyncio.Event())
        reply = verdict("correct", gate=held[-1])
        if len(held) == concurrency:
            held.popleft().set()
        while len(server.requests) == pairs and held:
            held.popleft().set()
        return reply

    async def twice(reward):
        return [await reward(completions=completions, answer=golds) for _ in range(2)]

    with serving(behave) as server:
        reward = JudgeReward("mock", base_url=server.url, canary_every=None, limits=Limits(concurrency=concurrency))

        first, second = asyncio.run(twice(reward))

    assert first == second == [1.0] * pairs
    assert len(server.requests) == pairs
    assert server.most_at_once == concurrency
