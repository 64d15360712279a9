"""How a plan describes what changed since a stage last ran."""

from recipekit.pipeline.changes import changes

NEAR = {"name": "margin", "fields": {"relative_margin": 0.05}, "files": {}}
JUDGE = {"section": {"judges": {"near": NEAR}}, "inputs": {"mine": "aa"}, "seed": 1}


def changed(**parts: object) -> list[str]:
    return list(changes(JUDGE, {**JUDGE, **parts}))


def test_equal_identities_have_no_changes() -> None:
    assert changed() == []


def test_a_changed_field_is_named_with_both_values() -> None:
    section = {
        "judges": {"near": {"name": "margin", "fields": {"relative_margin": 0.1}, "files": {}}}
    }
    assert changed(section=section) == ["judges.near.relative_margin: 0.05 → 0.1"]


def test_a_changed_input_is_named_rather_than_hashed() -> None:
    assert changed(inputs={"mine": "bb"}) == ["mine changed"]


def test_a_file_with_changed_content_is_named() -> None:
    old = {"section": {"sources": {"docs": {"files": {"corpus": "1", "queries": "2"}}}}}
    new = {"section": {"sources": {"docs": {"files": {"corpus": "1", "queries": "3"}}}}}
    assert list(changes(old, new)) == ["sources.docs: content of 'queries' changed"]


def test_added_and_removed_components_are_named() -> None:
    section = {"judges": {"far": {"name": "margin"}}}
    assert changed(section=section) == [
        "judges.near: margin → (none)",
        "judges.far: (none) → margin",
    ]


def test_a_replaced_component_is_one_change() -> None:
    section = {"judges": {"near": {"name": "llm", "fields": {"model": "openai/own"}, "files": {}}}}
    assert changed(section=section) == ["judges.near: margin → llm"]
