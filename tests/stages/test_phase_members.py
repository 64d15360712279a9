"""A phase that lacks a member is refused when it is built, before anything is trained."""

import pytest

from recipekit.component import Phase, PhasePart
from recipekit.errors import ComponentError
from recipekit.stages.train.phases import check_phase

OPTIONAL = (
    "separates_towers",
    "trains_ranking",
    "start",
    "begin",
    "unchanged_sides",
    "finish",
    "state",
    "save",
    "restore",
    "end",
)


def members_of_a_phase() -> dict:
    names = ("begin", "unchanged_sides", "finish", "state", "gradient")
    methods = {name: lambda self, *_: {} for name in names}
    nothing = {name: lambda self, *_: None for name in ("start", "save", "restore", "end")}
    return {
        "parts": [PhasePart(1, 1)],
        "separates_towers": False,
        "trains_ranking": True,
        **methods,
        **nothing,
    }


@pytest.mark.parametrize("missing", [*OPTIONAL, "parts", "gradient"])
def test_every_member_that_the_loop_uses_is_needed(missing):
    members = members_of_a_phase()
    check_phase("own", type("Own", (), members)())
    del members[missing]
    with pytest.raises(ComponentError, match=rf"train\.phases\.own builds a Own without {missing}"):
        check_phase("own", type("Own", (), members)())


def test_a_class_that_does_not_derive_from_phase_is_refused_with_the_remedy():
    members = {name: value for name, value in members_of_a_phase().items() if name not in OPTIONAL}
    with pytest.raises(ComponentError) as raised:
        check_phase("own", type("Own", (), members)())
    assert str(raised.value) == (
        "train.phases.own builds a Own without separates_towers, trains_ranking, start, begin, "
        "unchanged_sides, finish, state, save, restore, end: make it a subclass of "
        "recipekit.component.Phase, which has defaults"
    )
    assert raised.value.code == "RK206"


def test_a_subclass_of_phase_still_defines_parts_and_gradient():
    with pytest.raises(ComponentError, match="without parts, gradient, which every phase defines"):
        check_phase("own", type("Own", (Phase,), {})())
    complete = {"parts": [PhasePart(1, 1)], "gradient": lambda self, step: None}
    check_phase("own", type("Own", (Phase,), complete)())
