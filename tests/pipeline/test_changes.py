"""How a plan describes what changed since a stage last ran."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from recipekit.artifacts.key import FileHashes
from recipekit.artifacts.store import Store
from recipekit.pipeline.changes import changes, changes_since
from recipekit.pipeline.identity import stage_identity
from recipekit.recipe.sections import Recipe
from recipekit.stages import PIPELINE
from recipekit.stages.recipe import load_recipe

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


RECIPE = {
    "recipe": 1,
    "name": "mine",
    "encoders": {"student": {"use": "bi_encoder", "model": "./model"}},
    "collect": {"sources": {"own": {"use": "pairs", "file": "whole.csv"}}},
    "mine": {"retrievers": {"dense": {"use": "exact", "encoder": "student"}}},
}


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.chdir(tmp_path)
    Path("model").mkdir()
    Path("model/config.json").write_text("{}")
    Path("whole.csv").write_text("query,positive\na,b\n")
    return load_recipe(RECIPE)


def reasons(recipe: Recipe, stage: str, **cached: Recipe) -> list[str]:
    """Why a stage of the recipe runs, if the present stage of other recipes is cached by name."""
    manifests = [{"recipe": name, "identity": identity(of, stage)} for name, of in cached.items()]
    Path("whole.csv").write_text("query,positive\na,c\n")
    Path("model/config.json").write_text("[]")
    artifacts = [SimpleNamespace(stage=stage, manifest=manifest) for manifest in manifests]
    store = SimpleNamespace(all=lambda: artifacts)
    return list(changes_since(cast("Store", store), recipe, stage, identity(recipe, stage)))


def identity(recipe: Recipe, stage: str) -> dict[str, Any]:
    declared = next(each for each in PIPELINE if each.name == stage)
    section = dict(recipe.stages())[stage]
    return stage_identity(recipe, declared, section, {}, FileHashes())


def test_a_changed_file_has_its_key_and_its_own_name(recipe: Recipe) -> None:
    assert reasons(recipe, "collect", mine=recipe) == [
        "sources.own.file: content of 'whole.csv' changed"
    ]


def test_a_changed_file_of_an_encoder_has_its_key(recipe: Recipe) -> None:
    assert reasons(recipe, "mine", mine=recipe) == [
        "encoders.student.model: content of 'model' changed"
    ]


def test_without_an_artifact_of_the_recipe_the_compared_one_is_named(recipe: Recipe) -> None:
    sources = {**RECIPE["collect"]["sources"], "more": {"use": "pairs", "file": "whole.csv"}}
    far = load_recipe({**RECIPE, "seed": 2, "collect": {"sources": sources}})
    near = load_recipe({**RECIPE, "seed": 2})
    assert reasons(recipe, "collect") == ["not cached"]
    assert reasons(recipe, "collect", far=far, near=near) == [
        "not cached",
        "compared with 'near': seed: 2 → 13",
    ]


def test_an_artifact_of_the_recipe_precedes_nearer_ones_of_others(recipe: Recipe) -> None:
    own = load_recipe({**RECIPE, "seed": 2})
    assert reasons(recipe, "collect", near=recipe, mine=own) == [
        "seed: 2 → 13",
        "sources.own.file: content of 'whole.csv' changed",
    ]
