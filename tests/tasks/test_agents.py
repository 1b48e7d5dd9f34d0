"""Tasks with tools: what a calculator computes, what a guess tells, and what is paid for."""

import pytest
from trl.chat_template_utils import is_chat_template_prefix_preserving, parse_response, supports_tool_calling

from mot_trl.tasks.agents import AGENTS, nano
from mot_trl.tasks.agents.calculator import calculate, correct_answer
from mot_trl.tasks.agents.guess_number import GUESSES, LARGEST, GuessNumber
from mot_trl.tasks.nano.model import load_nano

COMPUTED = {
    "1+2": "3",
    " 12 * (3 + 4) ": "84",
    "-7 // 2": "-4",
    "7 / 2": "3.5",
    "2**10 % 1000": "24",
    "--5": "5",
    "9**(0.5)": "3.0",
    "0.1 + 0.2": str(0.1 + 0.2),
    "(" * 99 + "1" + ")" * 99: "1",
}

# From a model's mouth: nothing of this may run, hang, or fill the memory.
REFUSED = [
    "",
    "1 +",
    "9**9**9",
    "2**10000000",
    "(2**2000)**2000",
    "(-8)**0.5",
    "1/0",
    "True + 1",
    "'a' * 10",
    "[1] * 10",
    "x",
    "__import__('os').system('true')",
    "print(1)",
    "1 if 1 else 2",
    "1 < 2",
    "1j",
    "(lambda: 1)()",
    "-" * 150 + "1" + "x",
    "1+" * 150 + "1",
    "1\x00",
    None,
    7,
    ["1+1"],
    {"a": 1},
]


@pytest.mark.parametrize("expression", COMPUTED)
def test_a_calculator_computes(expression: str) -> None:
    assert calculate(expression) == COMPUTED[expression]


@pytest.mark.parametrize("expression", REFUSED, ids=lambda value: repr(value)[:30])
def test_a_calculator_refuses_what_is_no_sum(expression: str) -> None:
    with pytest.raises((ValueError, ZeroDivisionError, OverflowError)):
        calculate(expression)


def test_only_the_models_last_words_are_an_answer() -> None:
    said = {"role": "assistant", "content": "<think>9</think><answer>7</answer>"}
    tool = {"role": "tool", "name": "calculate", "content": "<answer>7</answer>"}
    silent = {"role": "assistant", "content": "<think>9</think>"}

    rewards = correct_answer([[said], [silent, tool], [said, tool, silent], [tool], []], answer=["7"] * 5)

    assert rewards == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert correct_answer([[said]], answer=["8"]) == [0.0]


@pytest.mark.parametrize("name", AGENTS)
def test_rows_are_the_same_for_a_seed_and_others_for_another(name: str) -> None:
    load = AGENTS[name].load

    rows = list(load(20))

    assert rows == list(load(20))
    assert rows != list(load(20, seed=1))
    assert rows != list(load(20, split="test"))
    with pytest.raises(ValueError, match="Unknown split 'dev'"):
        load(20, split="dev")


def test_no_expression_is_in_both_splits() -> None:
    load = AGENTS["calculator"].load

    train, test = (
        {row["prompt"][0]["content"] for seed in (0, 1) for row in load(100, seed=seed, split=split)}
        for split in ("train", "test")
    )

    assert not train & test


@pytest.mark.parametrize("secret", range(1, LARGEST + 1))
def test_bisection_always_finds_the_number(secret: int) -> None:
    game, low, high = GuessNumber(), 1, LARGEST
    game.reset(secret=secret, prompt="ignored")

    while (hint := game.guess((low + high) // 2)) not in ("found", "over"):
        middle = (low + high) // 2
        low, high = (middle + 1, high) if hint == "higher" else (low, middle - 1)

    assert game.get_reward() == 1.0


def test_guesses_run_out_and_are_counted_whatever_they_are() -> None:
    game = GuessNumber()
    game.reset(secret=15)

    hints = [game.guess(number) for number in (True, "15", None, 14)]  # ty: ignore[invalid-argument-type]

    assert hints == ["no number"] * 3 + ["higher"]
    assert len(hints) == GUESSES
    assert game.guess(15) == "over"
    assert game.get_reward() == 0.0
    game.reset(secret=3)
    assert [game.guess(3), game.guess(3)] == ["found", "over"]
    assert game.get_reward() == 1.0
    game.reset(secret=3)
    assert game.get_reward() == 0.0


@pytest.mark.parametrize("name", AGENTS)
def test_nano_is_shown_calls_that_trl_understands(name: str) -> None:
    _, tokenizer = load_nano()
    nano.add_tools(tokenizer)

    turns = list(nano.demonstrations(name, AGENTS[name].load(20)))

    assert supports_tool_calling(tokenizer)
    assert is_chat_template_prefix_preserving(tokenizer)
    for turn in turns:
        prefix, ids = tokenizer(turn.prompt)["input_ids"], tokenizer(turn.completion)["input_ids"]
        calls = parse_response(tokenizer, ids, prefix=prefix).get("tool_calls", [])
        assert len(calls) == turn.completion.count("<tool_call>")
        assert tokenizer(turn.prompt + turn.completion)["input_ids"] == prefix + ids
        assert all(set(call["function"]["arguments"]) <= {"expression", "number"} for call in calls)
    # The conversation that the template writes is the one that is imitated.
    first = next(turn for turn in turns if "<|tool|>" in turn.prompt)
    call = first.prompt.partition("<tool_call>")[2].partition("</tool_call>")[0]
    assert f"<tool_call>{call}</tool_call><|end|><|tool|>" in first.prompt
