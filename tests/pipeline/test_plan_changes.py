"""What a plan says of a miss: the inputs that changed, named as the recipe names them."""

from recipekit.pipeline.plan import changes

NEAR = {"name": "margin", "fields": {"percentage": 0.95}, "files": {}}
JUDGE = {"section": {"judges": {"near": NEAR}}, "inputs": {"mine": "aa"}, "seed": 1}


def changed(**parts: object) -> list[str]:
    return list(changes(JUDGE, {**JUDGE, **parts}))


def test_nothing_changed() -> None:
    assert changed() == []


def test_a_changed_field_is_named_with_both_values() -> None:
    section = {"judges": {"near": {"name": "margin", "fields": {"percentage": 0.9}, "files": {}}}}
    assert changed(section=section) == ["judges.near.percentage: 0.95 → 0.9"]


def test_a_changed_input_is_named_and_not_hashed() -> None:
    assert changed(inputs={"mine": "bb"}) == ["mine changed"]


def test_changed_content_names_the_file() -> None:
    old = {"section": {"sources": {"docs": {"files": {"corpus": "1", "queries": "2"}}}}}
    new = {"section": {"sources": {"docs": {"files": {"corpus": "1", "queries": "3"}}}}}
    assert list(changes(old, new)) == ["sources.docs: content of 'queries' changed"]


def test_what_came_and_what_went() -> None:
    section = {"judges": {"far": {"name": "margin"}}}
    assert changed(section=section) == [
        "judges.near: margin → (none)",
        "judges.far: (none) → margin",
    ]


def test_another_component_in_the_same_place_is_said_in_a_line() -> None:
    section = {"judges": {"near": {"name": "llm", "fields": {"model": "openai/own"}, "files": {}}}}
    assert changed(section=section) == ["judges.near: margin → llm"]
