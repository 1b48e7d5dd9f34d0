import pytest
from real_forms import KINDS, Form
from written_forms import WRITTEN

from mot_trl.rewards.math import MathReward

pytest.importorskip("math_verify")
CASES = [pytest.param(form, id=f"{kind}: {form.gold}") for kind, forms in (KINDS | WRITTEN).items() for form in forms]


def rewards(gold: str, answers: tuple[str, ...]) -> dict[str, float | None]:
    completions = [f"<answer>{answer}</answer>" for answer in answers]
    return dict(zip(answers, MathReward()(completions, answer=[gold] * len(answers)), strict=True))


@pytest.mark.parametrize("form", CASES)
def test_right_answers_are_paid_in_every_form_and_near_misses_in_none(form: Form) -> None:
    assert rewards(form.gold, form.right) == dict.fromkeys(form.right, 1.0)
    assert rewards(form.gold, form.wrong) == dict.fromkeys(form.wrong, 0.0)


@pytest.mark.parametrize("form", [forms[0] for forms in KINDS.values()], ids=KINDS)
def test_a_gold_among_other_answers_is_a_hedge(form: Form) -> None:
    hedges = tuple(
        text.format(form.gold, form.wrong[0]) for text in ("{0} or {1}", "{1}; {0}", r"{0} \text{{ or }} {1}")
    )

    assert rewards(form.gold, hedges) == dict.fromkeys(hedges, 0.0)
