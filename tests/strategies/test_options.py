"""Options out of range are refused by name, at once."""

import json
from typing import Any

import pytest

from mot_trl.strategies import STRATEGIES, BlendingStrategy, build_strategy, name_of, options_of
from mot_trl.strategies.dirichlet import Dirichlet
from mot_trl.strategies.gated import Gated
from mot_trl.strategies.multiplex import Multiplex

MISTYPED = pytest.mark.untyped("values of other types than the options have")


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        *[(name, "k", 0) for name in STRATEGIES],
        ("top_k", "min_prob", 1.0),
        ("top_k", "min_prob", -0.1),
        ("one_token", "min_prob", 0.15),
        ("one_token", "nucleus", 0.9),
        ("nucleus", "nucleus", 0.0),
        ("nucleus", "nucleus", 1.5),
        ("min_p", "min_p", 2.0),
        ("dirichlet", "concentration", 0.0),
        ("dirichlet", "concentration", float("nan")),
        ("polya_urn", "concentration", float("inf")),
        ("polya_urn", "resolution", 0),
        ("without_replacement", "min_rest", 0.0),
        ("gumbel_softmax", "temperature", 0.0),
        ("gumbel_softmax", "min_ratio", 1.0),
        ("gumbel_softmax", "nucleus", float("nan")),
        ("mixture_of_inputs", "beta", -1.0),
        ("gated", "rate", 1.5),
        ("gated", "rate", float("nan")),
        ("gated", "min_entropy", -0.1),
        ("gated", "min_entropy", float("inf")),
        ("gated", "wrapped", "gated"),
        pytest.param("gated", "rate", "often", marks=MISTYPED),
        pytest.param("top_k", "k", "many", marks=MISTYPED),
        pytest.param("top_k", "adaptive", "yes", marks=MISTYPED),
        pytest.param("multiplex", "adaptive", 1, marks=MISTYPED),
        ("one_token", "adaptive", True),
    ],
)
def test_an_option_out_of_range_is_refused_by_name(name: str, option: str, value: object):
    with pytest.raises(ValueError, match=f"`{option}`"):
        build_strategy(name, **{option: value})


@pytest.mark.untyped("values that are not among the choices")
@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("dirichlet", "visible", "first"),
        ("without_replacement", "weights", "q"),
        ("multiplex", "weights", "q"),
        ("multiplex", "aggregate", "sum"),
    ],
)
def test_a_value_that_is_no_choice_is_refused_by_name(name: str, option: str, value: str):
    with pytest.raises(ValueError, match=f"`{option}`"):
        build_strategy(name, **{option: value})


def test_an_unknown_option_is_refused_with_those_that_exist():
    with pytest.raises(ValueError, match=r"'top_k' has no option tau; it takes \['k', 'min_prob', 'adaptive'\]"):
        build_strategy("top_k", tau=1.0)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("top_k", {"min_share": 0.25}, {"min_prob": 0.25}),
        ("gumbel_softmax", {"k": 3, "min_share": 0.1}, {"k": 3, "min_prob": 0.1}),
        ("multiplex", {"weights": "renormalised"}, {"weights": "renormalized"}),
        ("without_replacement", {"weights": "renormalised"}, {"weights": "renormalized"}),
    ],
)
def test_options_of_earlier_versions_build_the_same_strategy(name: str, old: dict[str, Any], new: dict[str, Any]):
    assert build_strategy(name, **old) == build_strategy(name, **new) != build_strategy(name)


def test_a_gate_takes_the_options_of_what_it_wraps():
    assert build_strategy("gated", wrapped="dirichlet", k=3, rate=0.2) == Gated(Dirichlet(k=3), rate=0.2)
    assert build_strategy("gated", k=4) == Gated(Multiplex(k=4))
    with pytest.raises(ValueError, match=r"'gated top_k' has no option visible; it takes \['wrapped', .*'adaptive'\]"):
        build_strategy("gated", wrapped="top_k", visible="drawn")
    with pytest.raises(ValueError, match=r"Unknown strategy 'top-k'"):
        build_strategy("gated", wrapped="top-k")


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "gated"])
def test_a_strategy_is_made_again_from_its_name_and_options(name: str):
    gate = Gated(build_strategy(name, k=5), rate=0.25, min_entropy=0.5)

    for strategy in (gate, gate.wrapped):
        assert build_strategy(name_of(strategy), **json.loads(json.dumps(options_of(strategy)))) == strategy


def test_an_unknown_strategy_is_refused_with_those_that_exist():
    with pytest.raises(ValueError, match=r"Unknown strategy 'top-k'; choose one of .*'top_k'"):
        build_strategy("top-k")


def test_only_the_elementwise_maximum_has_a_blend_of_its_own():
    assert [name for name in STRATEGIES if isinstance(build_strategy(name), BlendingStrategy)] == ["elementwise_max"]
