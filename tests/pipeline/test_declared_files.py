from pathlib import Path

import pytest

from recipekit.errors import ComponentError, DataError
from recipekit.pipeline.declared_files import with_declaration, with_location
from recipekit.stages.recipe import load_recipe

RECIPE = """\
recipe: 1
name: labels
collect:
  sources:
    own: {use: pairs, file: pairs.csv}
    papers: {use: beir, folder: papers}
mine:
  retrievers: {lexical: {use: bm25}}
judge:
  control_pairs: {human_labels: people.csv}
  judges:
    people:
      use: labels
      file: labels.csv
    reader: {use: llm, model: openai/gpt-4o-mini}
"""


@pytest.mark.parametrize(
    ("stage", "file", "declared"),
    [
        ("collect", "pairs.csv:17", "5:29: collect.sources.own.file"),
        ("collect", "papers/qrels/train.tsv:2", "6:33: collect.sources.papers.folder"),
        ("judge", "labels.csv:2", "14:13: judge.judges.people.file"),
        ("judge", "people.csv:2", "10:33: judge.control_pairs.human_labels"),
    ],
)
def test_an_error_in_data_names_the_line_and_key_that_declare_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, file: str, declared: str
):
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(RECIPE)
    recipe = load_recipe("recipe.yaml")
    error = DataError(f"{stage}: {tmp_path}/{file}: no column 'x'.\nTo resume: …", code="RK305")
    found = with_declaration(recipe, stage, getattr(recipe, stage), error)
    assert found.message == (
        f"{stage}: {tmp_path}/{file}: no column 'x'; declared at recipe.yaml:{declared}\n"
        "To resume: …"
    )
    assert (type(found), found.code) == (DataError, "RK305")


def test_a_missing_column_is_located_at_the_key_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.replace("pairs.csv}", "pairs.csv, positive: answer}"))
    recipe = load_recipe(path)
    error = DataError(
        f"collect: {tmp_path}/pairs.csv:1: no column 'answer' for `positive`; found a, b.",
        code="RK305",
    )
    found = with_declaration(recipe, "collect", recipe.collect, error)
    assert found.message == (
        f"collect: {tmp_path}/pairs.csv:1: no column 'answer' for `positive`; found a, b; declared "
        f"at {path}:5:50: collect.sources.own.positive"
    )


TRAINED = """\
recipe: 1
name: trained
encoders:
  student: {use: bi_encoder, model: ./model}
collect:
  sources:
    own: {use: pairs, file: pairs.csv}
train:
  phases:
    only: {use: in_batch, loss: {use: infonce}}
    only-2:
      use: in_batch
      loss: {use: infonce}
"""


@pytest.mark.parametrize(
    ("message", "located"),
    [
        (
            "train: train.phases.only-2.loss: InfonceSpec lacks it",
            "train: {recipe}:13:13: train.phases.only-2.loss: InfonceSpec lacks it",
        ),
        (
            "train.phases.only builds a Phase without parts\nTo resume: ...",
            "{recipe}:10:11: train.phases.only builds a Phase without parts\nTo resume: ...",
        ),
        (
            "evaluate: encoders.student: BiEncoderSpec lacks it",
            "evaluate: {recipe}:4:12: encoders.student: BiEncoderSpec lacks it",
        ),
        ("recipe.yaml:3:4: encoders.student: wrong", "recipe.yaml:3:4: encoders.student: wrong"),
        ("train: my.encoders.student: wrong", "train: my.encoders.student: wrong"),
    ],
)
def test_an_error_about_a_component_has_its_line(
    tmp_path: Path, message: str, located: str
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(TRAINED)
    found = with_location(load_recipe(path), ComponentError(message, code="RK206"))
    assert found.message == located.format(recipe=path)
    assert (type(found), found.code) == (ComponentError, "RK206")


def test_an_error_that_names_no_file_of_the_recipe_stays(tmp_path: Path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    recipe = load_recipe(path)
    error = DataError("collect: none of 2 queries has a positive")
    assert with_declaration(recipe, "collect", recipe.collect, error) is error
