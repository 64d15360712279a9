"""Loading: sections and components, overrides, the environment, and relative paths."""

from collections.abc import Callable
from pathlib import Path

import pytest

from recipekit.errors import RecipeError
from recipekit.recipe.environment import expand, redact
from recipekit.recipe.fill import filled
from recipekit.stages.recipe import load_recipe

Write = Callable[..., Path]


def messages(file: Path, *overrides: str, allow_local_code: bool = False) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(file, overrides, allow_local_code=allow_local_code)
    return [f"{problem.path}: {problem.message}" for problem in caught.value.problems]


def test_a_recipe_is_bound_to_its_components(write: Write) -> None:
    file = write()
    recipe = load_recipe(file)
    slot = recipe.collect.sources["jars"]
    assert type(slot.spec).__name__ == "Shelf"
    assert (slot.entry.distribution, slot.entry.name) == ("kitchen", "shelf")
    assert (recipe.origin.path, recipe.origin.folder) == (file, file.parent)
    assert recipe.origin.text == file.read_text()


def test_default_components_are_bound(write: Write) -> None:
    recipe = load_recipe(
        write(
            "encoders:\n  student: {use: frozen}\n"
            "evaluate:\n  evaluators: {test: {use: retrieval}}\n"
        )
    )
    assert recipe.evaluate is not None
    assert recipe.evaluate.baselines["bm25"].spec.kind == "retriever"


def test_mistakes_in_sections_and_components_are_reported_in_the_order_of_the_file(
    write: Write,
) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(
            write(
                "mine:\n  retrievers:\n    jars: {use: pantry, prot: 1}\n"
                "  candidates_per_query: -1\nsead: 2\n"
            ),
            ["name=1"],
        )
    lines = [problem.where.rpartition("recipe.yaml:")[2] for problem in caught.value.problems]
    assert lines == ["8:25", "9:25", "10:1", "--set name=1"]
    assert [problem.code for problem in caught.value.problems] == [
        "RK103",
        "RK105",
        "RK103",
        "RK105",
    ]


def test_overrides_replace_add_and_remove_values(write: Write) -> None:
    file = write("mine:\n  retrievers:\n    jars: {use: pantry, boost: [1, 2], headers: {a: b}}\n")
    recipe = load_recipe(
        file,
        [
            "seed=7",
            "mine.candidates_per_query=null",
            "mine.retrievers.jars.boost.1=5",
            "mine.retrievers.jars.headers.c=no",
            "mine.retrievers.more={use: pantry}",
        ],
    )
    assert recipe.mine is not None
    jars = recipe.mine.retrievers["jars"].spec
    assert (recipe.seed, recipe.mine.candidates_per_query, list(recipe.mine.retrievers)) == (
        7,
        None,
        ["jars", "more"],
    )
    assert (jars.boost, jars.headers) == ([1, 5], {"a": "b", "c": "no"})  # type: ignore[attr-defined]
    assert load_recipe(file, ["mine=null"]).mine is None
    assert load_recipe(file, ["train=null", "description=a = b"]).description == "a = b"


def test_a_section_can_be_added_key_by_key(write: Write) -> None:
    recipe = load_recipe(
        write(), ["mine.retrievers.jars.use=pantry", "mine.retrievers.jars.depth=5"]
    )
    assert recipe.mine is not None
    assert recipe.mine.retrievers["jars"].spec.depth == 5  # type: ignore[attr-defined]


def test_relative_paths_start_at_the_recipe_and_those_of_overrides_at_the_current_folder(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    file = write(name="recipes/recipe.yaml")
    path = "collect.sources.jars.path"
    assert load_recipe(file).collect.sources["jars"].spec.path == tmp_path / "recipes/jars"  # type: ignore[attr-defined]
    assert (
        load_recipe("../recipes/recipe.yaml", [f"{path}=jars"]).collect.sources["jars"].spec.path
        == elsewhere / "jars"
    )  # type: ignore[attr-defined]
    assert load_recipe(file, [f"{path}=/jars"]).collect.sources["jars"].spec.path == Path("/jars")  # type: ignore[attr-defined]


def test_a_model_folder_from_an_override_starts_at_the_current_folder(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = write(
        "encoders:\n  student: {use: bi_encoder, model: ./a}\n", name="recipes/recipe.yaml"
    )
    spec = (
        load_recipe(file, ["encoders.student.model=./b", "encoders.student.max_length=7"])
        .encoders["student"]
        .spec
    )  # type: ignore[index]
    assert spec.model == str(tmp_path / "b")  # type: ignore[attr-defined]
    assert load_recipe(file, ["encoders.student.max_length=7"]).encoders[
        "student"
    ].spec.model == str(tmp_path / "recipes/a")  # type: ignore[index, attr-defined]


PANTRY = """\
mine:
  retrievers:
    jars:
      use: pantry
      url: "http://${env:JAR_HOST}/"
      port: "${env:JAR_PORT}"
      headers: {a: "${env:JAR_KEY}"}
"""


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "JAR_HOST": "cellar.example",
        "JAR_PORT": "9300",
        "JAR_KEY": 'top"secret/ü',
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("environment")
def test_values_from_the_environment_reach_only_the_component(write: Write) -> None:
    recipe = load_recipe(write(PANTRY))
    assert recipe.mine is not None
    spec = recipe.mine.retrievers["jars"].spec
    assert (spec.url, spec.port, spec.headers) == (
        "http://cellar.example/",
        9300,
        {"a": 'top"secret/ü'},
    )  # type: ignore[attr-defined]
    text = filled(recipe)
    assert "cellar" not in text and "9300" not in text and "secret" not in text
    assert "http://${env:JAR_HOST}/" in text


@pytest.mark.usefixtures("environment")
def test_redaction_shows_the_variable_instead_of_its_value(write: Write) -> None:
    load_recipe(write(PANTRY))
    assert redact("GET http://cellar.example/") == "GET http://${env:JAR_HOST}/"
    assert redact('{"key": "top\\"secret/\\u00fc"}') == '{"key": "${env:JAR_KEY}"}'
    assert redact("key=top%22secret%2F%C3%BC") == "key=${env:JAR_KEY}"


def test_an_error_never_shows_a_value_from_the_environment(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAR_PORT", "hunter2")
    more = 'mine:\n  retrievers:\n    jars: {use: pantry, port: "${env:JAR_PORT}"}\n'
    assert messages(write(more)) == [
        "mine.retrievers.jars.port: expected a whole number, found the text '${env:JAR_PORT}'"
    ]
    (error,) = messages(
        write(more), "mine.retrievers.jars.index=5", "mine.retrievers.jars.port=hunter2"
    )[1:]
    assert "hunter2" not in error


def test_local_code_is_loaded_when_it_is_allowed(write: Write, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from recipekit.component import RetrieverSpec\n\n\n"
        'class Own(RetrieverSpec):\n    """Mine."""\n\n    sugar: int = 1\n\n'
        "    def build(self, context): ...\n"
    )
    file = write("mine:\n  retrievers:\n    own: {use: './own.py:Own', sugar: 2}\n")
    recipe = load_recipe(file, allow_local_code=True)
    assert recipe.mine is not None
    assert recipe.mine.retrievers["own"].spec.sugar == 2  # type: ignore[attr-defined]
    assert messages(file, "mine.retrievers.own.suger=3", allow_local_code=True) == [
        "mine.retrievers.own.suger: unknown key. Did you mean 'sugar'?"
    ]


def test_a_validator_that_raises_is_reported_with_its_component(
    write: Write, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(
        "from pydantic import model_validator\n\n"
        "from recipekit.component import RetrieverSpec\n\n\n"
        "class Own(RetrieverSpec):\n    def build(self, context): ...\n"
        "    @model_validator(mode='after')\n"
        "    def _check(self):\n        raise KeyError('jam')\n"
    )
    file = write("mine:\n  retrievers:\n    own: {use: './own.py:Own'}\n")
    assert messages(file, allow_local_code=True) == [
        "mine.retrievers.own: Own failed to validate: KeyError: 'jam'"
    ]


def test_among_many_choices_only_the_similar_one_is_shown(write: Write, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from typing import Literal\n\nfrom recipekit.component import RetrieverSpec\n\n\n"
        "class Own(RetrieverSpec):\n    def build(self, context): ...\n"
        "    fruit: Literal['apple', 'pear', 'plum', 'fig', 'grape', 'lemon', 'lime', 'quince', "
        "'date', 'sloe']\n"
    )
    file = write("mine:\n  retrievers:\n    own: {use: './own.py:Own', fruit: aple}\n")
    assert messages(file, allow_local_code=True) == [
        "mine.retrievers.own.fruit: unknown value 'aple'. Did you mean 'apple'?"
    ]


def test_placeholder_words_such_as_none_are_not_redacted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOCAL_KEY", "None")
    monkeypatch.setenv("REAL_KEY", "sk-0123")
    assert (expand("${env:LOCAL_KEY}"), expand("${env:REAL_KEY}")) == ("None", "sk-0123")
    assert redact("None of them has sk-0123") == "None of them has ${env:REAL_KEY}"


def test_a_variable_can_hold_a_value_that_is_not_secret(
    write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHORT", "none")
    judge = (
        "{use: llm, model: openai/own, api_base: 'http://${env:SHORT}:${env:SHORT}@host/v1', "
        "headers: {x-api-key: '${env:SHORT}'}}"
    )
    file = write(
        f"mine: {{retrievers: {{lexical: {{use: bm25}}}}}}\njudge: {{judges: {{llm: {judge}}}}}\n"
    )
    spec = load_recipe(file).judge.judges["llm"].spec  # type: ignore[union-attr]
    assert (spec.api_base, spec.headers) == ("http://none:none@host/v1", {"x-api-key": "none"})  # type: ignore[attr-defined]
