"""A plan is data: it can be written down, read back, changed, and is wrong in words."""

from __future__ import annotations

from typing import Any

import pytest

from qianru.errors import BadInput, UnknownName
from qianru.index.plan import PLANS, Plan


@pytest.mark.parametrize("plan", [
    Plan(),
    *map(Plan.parse, PLANS),
    Plan(kinds=("sparse", "dense"), candidates=7, rescore="maxsim", depth=3, mmr=0.7, group_by="path", min_score=-1.5),
])
def test_a_plan_is_the_same_after_being_written_and_read(plan: Plan) -> None:
    assert Plan.parse(plan.to_json()) == plan
    assert Plan.parse(plan.to_dict()) == plan


def test_kinds_have_one_order_and_no_doubles() -> None:
    assert Plan(kinds=["multi", "dense", "dense"]).kinds == ("dense", "multi")  # type: ignore[arg-type]


@pytest.mark.parametrize(("steps", "says"), [
    ({"candidate": 5}, "Did you mean 'candidates'"),
    ({"candidates": 0}, "candidates is a whole number of at least 1, not 0"),
    ({"candidates": "9"}, "not '9'"),
    ({"candidates": 10**30}, "candidates is at most 9007199254740992"),
    ({"kinds": "dense"}, "kinds is a list"),
    ({"kinds": []}, "at least one kind"),
    ({"kinds": ["dens"]}, "Did you mean 'dense'"),
    ({"fusion": "rff"}, "Did you mean 'rrf'"),
    ({"scale": "min-max"}, "Did you mean 'minmax'"),
    ({"rescore": "max-sim"}, "Did you mean 'maxsim'"),
    ({"rrf_k": -1}, "above -1"),
    ({"weights": {"dense": -1}}, "from 0 upwards"),
    ({"weights": {"dense": "2"}}, "from 0 upwards"),
    ({"weights": {"dense": 10**400}}, "from 0 upwards"),
    ({"weights": {"dense": float("inf")}}, "from 0 upwards"),
    ({"weights": [1, 2]}, "kind by kind"),
    ({"kinds": ["sparse"], "weights": {"dense": 1}}, "no kind of vector 'dense'"),
    ({"mmr": 1.5}, "from 0 .* to 1"),
    ({"min_score": float("nan")}, "min_score is a finite number"),
    ({"group_by": ""}, "name of a field"),
    ({"complete": 1}, "true or false"),
])
def test_a_wrong_step_is_named_with_what_would_do(steps: dict[str, Any], says: str) -> None:
    with pytest.raises((BadInput, UnknownName), match=says):
        Plan.parse(steps)


def test_what_is_no_plan_is_told() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'bge-m3'"):
        Plan.parse("bgem3")
    with pytest.raises(BadInput, match="no JSON"):
        Plan.parse("{kinds}")
    with pytest.raises(BadInput, match="no JSON"):
        Plan.parse('{"kinds": ' + "[" * 100_000)
    with pytest.raises(BadInput, match="table of its steps"):
        Plan.parse([1])  # type: ignore[arg-type]
