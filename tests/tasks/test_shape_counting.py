"""Pictures are what their questions and answers say."""

import pytest

from mot_trl.tasks import shape_counting as counting

pytest.importorskip("PIL")


def answered(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": f"<think>one, two</think><answer>{text}</answer>"}]


def test_rows_have_a_question_a_picture_and_a_count() -> None:
    rows = counting.load(rows=8)

    assert rows.column_names == ["prompt", "image", "answer"]
    assert {row["image"].size for row in rows} == {(112, 112)}
    assert all(row["answer"].isdecimal() for row in rows)
    assert len({row["answer"] for row in rows}) > 1


def test_the_count_is_what_is_drawn() -> None:
    rows = counting.load(rows=24, cells=3, size=96)

    for row in rows:
        _, _, color, shape, *_ = row["prompt"][0]["content"].split()
        # The middle of a cell is inside any of the shapes; a triangle leaves its upper corners white.
        kinds = [kind_at(row["image"], r, c) for r in range(3) for c in range(3)]
        assert kinds.count((shape.rstrip("s"), color)) == int(row["answer"])


def kind_at(picture: object, row: int, column: int) -> tuple[str, str] | None:
    side, top, left = 32, row * 32, column * 32
    names = {rgb: name for name, rgb in counting.COLORS.items()}
    color = names.get(picture.getpixel((left + side // 2, top + side // 2)))
    corners = [picture.getpixel((left + 5, y)) in names for y in (top + 5, top + side - 5)]
    shape = {(True, True): "square", (False, True): "triangle", (False, False): "circle"}[tuple(corners)]
    return (shape, color) if color else None


def test_pictures_come_again_by_seed_and_splits_differ() -> None:
    first, again = (counting.load(rows=4, seed=1)[3] for _ in range(2))

    assert first["image"].tobytes() == again["image"].tobytes()
    assert counting.load("test", rows=4, seed=1)[3]["image"].tobytes() != first["image"].tobytes()


def test_rewards_are_of_the_final_answer() -> None:
    completions = [answered("3"), answered("4"), answered("three"), answered("9" * 5000), answered("²"), "<think>3"]

    assert counting.correct_answer(completions=completions, answer=["3"] * 6) == [1, 0, 0, 0, 0, 0]
    assert counting.close_answer(completions=completions, answer=["3"] * 6) == [1, 0.5, 0, 0, 0, 0]


@pytest.mark.parametrize(("options", "message"), [({"split": "dev"}, "'dev'"), ({"size": 8, "cells": 4}, "`size=8`")])
def test_what_cannot_be_drawn_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        counting.load(**options)
