"""A filled recipe states every key, and loads from any folder to the same recipe."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recipekit.recipe.fill import filled
from recipekit.recipe.read import read_text
from recipekit.recipe.shipped import shipped
from recipekit.stages.recipe import load_recipe
from recipekit.yaml_format import dump

Write = Callable[..., Path]

names = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,8}", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0$"), max_size=20)
urls = st.sampled_from(
    ["http://localhost", "${env:FILL_HOST}/v1", "no", "${env:FILL_HOST}${env:FILL_HOST}"]
)


def some(
    required: dict[str, Any], **optional: st.SearchStrategy[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional)


sources = some(
    {
        "use": st.sampled_from(["shelf", "kitchen/shelf"]),
        "path": st.sampled_from(["jars", "/abs/jars", "../up", "${env:FILL_HOST}/jars"]),
    },
    columns=st.dictionaries(names, texts, max_size=2),
)
retrievers = some(
    {"use": st.just("pantry")},
    depth=st.integers(1, 500),
    url=urls,
    port=st.integers(1, 65535) | st.just("${env:FILL_PORT}"),
    headers=st.dictionaries(names, urls, max_size=2),
    login=some({"user": texts}, password=urls),
    boost=st.floats(0, 9) | st.lists(st.floats(0, 9), max_size=3),
)
evaluators = some(
    {"use": st.just("retrieval")}, metrics=st.just(["map@7"]), confidence_level=st.floats(0.6, 0.9)
)
recipes = some(
    {
        "recipe": st.just(1),
        "name": names,
        "encoders": st.just({"student": {"use": "bi_encoder", "model": "./model"}}),
        "collect": some(
            {"sources": st.dictionaries(names, sources, min_size=1, max_size=2)},
            split=st.just({"dev": 0.1}),
        ),
    },
    description=texts,
    seed=st.integers(0, 2**32 - 1),
    mine=some(
        {"retrievers": st.dictionaries(names, retrievers, min_size=1, max_size=2)},
        candidates_per_query=st.integers(1, 99) | st.none(),
        fusion=st.just("union"),
    ),
    train=some(
        {
            "phases": st.dictionaries(
                names,
                st.just({"use": "in_batch", "loss": {"use": "infonce"}}),
                min_size=1,
                max_size=2,
            )
        },
        learning_rate=st.floats(1e-7, 1),
        max_grad_norm=st.just(0.0) | st.floats(0.1, 2),
    ),
    evaluate=some(
        {"evaluators": st.dictionaries(names, evaluators, min_size=1, max_size=2)},
        untrained=st.booleans(),
    ),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(recipe=recipes)
def test_a_filled_recipe_loads_from_another_folder_to_an_equal_recipe(
    recipe: dict[str, Any], tmp_path: Path, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILL_HOST", "cellar.example")
    monkeypatch.setenv("FILL_PORT", "9300")
    (tmp_path / "far/away").mkdir(parents=True, exist_ok=True)
    (tmp_path / "recipe.yaml").write_text(dump(recipe), encoding="utf-8")
    loaded = load_recipe(tmp_path / "recipe.yaml")
    text = filled(loaded)
    (tmp_path / "far/away/copy.yaml").write_text(text, encoding="utf-8")
    again = load_recipe(tmp_path / "far/away/copy.yaml")
    assert again == loaded
    assert filled(again) == text
    assert "cellar.example" not in text


def test_different_recipes_are_not_equal(write: Write) -> None:
    more = "mine:\n  retrievers:\n    jars: {use: pantry}\n"
    assert load_recipe(write(more)) == load_recipe(write(more), ["mine.retrievers.jars.port=9200"])
    assert load_recipe(write(more)) != load_recipe(write(more), ["mine.retrievers.jars.port=9201"])
    assert load_recipe(write(more)) != load_recipe(write(more), ["seed=14"])


def test_every_default_is_written_out_in_the_order_of_the_sections(write: Write) -> None:
    file = write("mine:\n  retrievers:\n    jars: {use: pantry}\nseed: 5\n")
    value = read_text(filled(load_recipe(file)), "").value
    assert list(value) == ["recipe", "name", "description", "seed", "spending", "collect", "mine"]
    assert value["mine"]["retrievers"]["jars"] == {
        "use": "pantry",
        "depth": 100,
        "url": "http://localhost:9200",
        "port": 9200,
        "headers": {},
        "login": None,
        "index": "jars",
        "boost": 1.0,
    }
    assert value["mine"]["candidates_per_query"] == 50


def test_local_code_is_found_from_a_filled_copy(write: Write, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from recipekit.component import RetrieverSpec\n\n\nclass Own(RetrieverSpec):\n"
        "    def build(self, context): ...\n"
    )
    recipe = load_recipe(
        write("mine:\n  retrievers:\n    own: {use: './own.py:Own'}\n"), allow_local_code=True
    )
    (tmp_path / "far").mkdir()
    (tmp_path / "far/copy.yaml").write_text(filled(recipe))
    assert load_recipe(tmp_path / "far/copy.yaml", allow_local_code=True) == recipe


@pytest.mark.parametrize("name", shipped())
def test_filled_shipped_recipes_are_equal_to_the_originals(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    (tmp_path / "copy.yaml").write_text(filled(recipe))
    assert load_recipe(tmp_path / "copy.yaml") == recipe


def test_paths_of_sections_start_at_the_recipe_or_at_the_folder_of_the_override(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = """
mine:
  retrievers: {lexical: {use: bm25}}
judge:
  judges: {model: {use: llm, model: openai/own}}
  control_pairs: {human_labels: people.csv}
"""
    recipe = write(judged)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert f"human_labels: {recipe.parent}/people.csv\n" in filled(load_recipe(recipe))
    overridden = load_recipe(recipe, ["judge.control_pairs.human_labels=people.csv"])
    assert f"human_labels: {tmp_path}/elsewhere/people.csv\n" in filled(overridden)
    (tmp_path / "filled.yaml").write_text(filled(overridden))
    assert load_recipe(tmp_path / "filled.yaml") == overridden
