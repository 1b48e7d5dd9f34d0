import pytest

from mot_trl.rewards.math import MathReward, asks_for_percent

ASK = [
    "What is the % increase?",
    r"By what \% did it grow?",
    "What percentage of the flowers are roses?",
    "By what percent does the square's area decrease?",
    "How much soda is left, expressed as a percentage of a bottle?",
    "20 is what percent of 50?",
    "If 30% of 50 people leave, what percent of 70 is that?",
    "What is the percent error?",
    "Find the percentage change.",
    "How many percent is 3 of 12?",
    "How many more birds, in percentage, did she see?",
    "Give the answer in percent.",
    "Express your answer as a percentage, but do not include the percent sign.",
    "What is the discount, rounded to the nearest percent?",
    "What is the difference in percentage points?",
    "What is the per cent profit?",
    "What is the chance, to the nearest tenth of a percent?",
    "Her final balance is what percentage of 50 dollars?",
    "By how much, in %, did the price rise?",
    "3 is ___% of 12.",
]
GIVEN = [
    "What is 20 percent of 50?",
    r"What is $20\%$ of 50?",
    "What is 20% of 50?",
    "What is 12.5 percent of 80?",
    "Find twenty-five percent of 60.",
    "What number is fifty percent of 20?",
    "Calculate 5 percent of 200.",
    "What is half a percent of 400?",
    "What is x percent of 50 for x = 20?",
    "If she gets a 20 percent discount, how much does she pay?",
    "He improves by forty percent, how many yards will he run?",
    "If it's off by the same percentage, what temperature should she set?",
    "How many games must they win so that their percentage is 64%?",
    "The bill grew by thirty percent. How much is it now?",
    "In how many years will 3% interest double it?",
    "What is a hundred percent of 7?",
    "What is the price after the percentage is taken off?",
]


@pytest.mark.parametrize("question", ASK)
def test_a_percent_sign_is_a_unit_where_a_percentage_is_asked_for(question: str) -> None:
    assert asks_for_percent(question)
    assert reward("18", r"18\%", question) == reward("18", "18", question) == 1.0
    assert reward(r"18\%", "18 percent", question) == 1.0
    assert reward("18", r"1800\%", question) == reward("18", r"1.8\%", question) == 0.0


@pytest.mark.parametrize("question", GIVEN)
def test_a_given_percentage_asks_for_none(question: str) -> None:
    assert not asks_for_percent(question)
    assert reward("10", r"10\%", question) == reward("10", "10 percent", question) == 0.0
    assert reward("10", "10", question) == 1.0


@pytest.mark.parametrize(
    ("question", "gold", "right", "wrong"),
    [
        ("What is 20 percent of 50?", "10", ("10", "10.0"), (r"10\%", "10 cm", r"\$10", "10 degrees", "10 kg")),
        ("A pen is $2. How many dollars are 3?", "6", ("6", r"\$6", "6 dollars"), ("6 cents", "6 euros", r"6\%")),
        ("A pen is $2. How many cents are 3?", "600", ("600", "600 cents"), (r"\$600", "600 dollars")),
        ("How much do 3 pens for $2 each cost?", "6", (r"\$6", "6 dollars"), ("6 cents", "£6", "6 pounds", "6 m")),
        ("Pens cost 50 cents each. How much are 8?", "4", ("4", r"\$4", "4 dollars"), ("4 euros",)),
        ("How many meters are 3 rods of 2 m?", "6", ("6", "6 m", "6 meters"), ("6 cm", "6 feet", "6 s", "6 kg")),
        ("A square has a side of 3 cm. What is its perimeter?", "12", ("12 cm", "12"), ("12 m", "12 inches", r"\$12")),
        ("A train goes 60 miles in 2 hours. What is its speed?", "30", ("30 mph", "30 miles per hour"), ("30 km/h",)),
        ("What is the measure of the angle, in degrees?", "60", (r"60^\circ", "60 degrees"), ("60 radians", "60 cm")),
        (r"A triangle has angles of $50^\circ$ and $70^\circ$. Find the third.", "60", (r"60^\circ", "60"), ("60 m",)),
        ("How many minutes is the film of two hours?", "120", ("120 minutes", "120 min"), ("120 hours", "120 s")),
        ("Sam is half of Drew's age of 36. How old is Sam?", "18", ("18 years", "18"), (r"\$18", "18 cm")),
        ("How many apples do 2 boys with 9 each have?", "18", ("18 apples", "18"), (r"\$18", "18 years", "18 g")),
        ("How many milligrams are in 2 pills of 1 gram each?", "650", ("650 mg", "650"), ("650 g", "650 kg")),
        ("How many seconds does she have to get there?", "32", ("32 sec", "32 seconds", "32 s"), ("32 hours",)),
        ("How many dozen eggs are 36 eggs?", "3", ("3 dozen", "3"), ("36 dozen", "3 hundred")),
        ("How many eggs are 3 dozen eggs?", "36", ("3 dozen", "36", "36 eggs"), ("36 dozen",)),
        ("What is the revenue, in millions of dollars?", "4", (r"\$4 million", "4", "4 million"), ("4 thousand",)),
        ("How many quarters are in 5 dollars?", "20", ("20 quarters", "20"), (r"\$20",)),
        ("Violet picks one of 12 candies. How likely is it blue?", "25", (r"25\%", "25"), (r"2500\%", "0.25")),
        ("The probability of rain is 1/4. How many of 100 days are wet?", "25", ("25", "25 days"), (r"25\%", "2500%")),
        ("How many thousand dollars are 4 bars of $1000?", "4", ("4", "4 thousand", r"\$4 thousand"), ("4 million",)),
        ("What is the probability that it is blue?", r"\frac{1}{4}", (r"25\%", "0.25"), ("25", r"0.25\%")),
    ],
)  # fmt: skip
def test_the_question_decides_which_units_may_be_added(question, gold, right, wrong) -> None:
    assert {answer: reward(gold, answer, question) for answer in right} == dict.fromkeys(right, 1.0)
    assert {answer: reward(gold, answer, question) for answer in wrong} == dict.fromkeys(wrong, 0.0)


def test_without_a_question_a_percentage_means_hundredths_and_other_units_are_right() -> None:
    answers = (r"18\%", "18 cm", r"\$18")

    assert [reward("18", answer, None) for answer in answers] == [0.0, 1.0, 1.0]


def test_the_prompt_is_read_where_there_is_no_question() -> None:
    system = {"role": "system", "content": "What percent of your answers are right?"}
    asked = [system, {"role": "user", "content": [{"type": "text", "text": "What percent of 50 is 9?"}]}]
    given = [system, {"role": "user", "content": "What is 20 percent of 90?"}]

    rewards = MathReward(symbolic=False)(
        prompts=[asked, given, "What is the percent increase?"], completions=[r"\boxed{18\%}"] * 3, answer=["18"] * 3
    )

    assert rewards == [1.0, 0.0, 1.0]


def reward(gold: str, answer: str, question: str | None) -> float | None:
    columns = {} if question is None else {"question": [question]}
    return MathReward(symbolic=False)([f"<answer>{answer}</answer>"], answer=[gold], **columns)[0]
