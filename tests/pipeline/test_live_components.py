"""Indices and collections that change between the plan and the run."""

import json

import elasticsearch
import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from recipekit.errors import ComponentError, RunError
from recipekit.pipeline.execute import run
from recipekit.pipeline.live_components import check_unchanged
from recipekit.pipeline.plan import plan
from recipekit.stages.recipe import load_recipe

HEAD = """\
recipe: 1
name: demo
encoders:
  student: {use: bi_encoder, model: ./model}
collect:
  sources:
"""
PAIRS = "    own: {use: pairs, file: pairs.jsonl}\n"


def loaded(folder, text):
    (folder / "recipe.yaml").write_text(HEAD + text)
    return load_recipe(folder / "recipe.yaml")


def test_a_collection_that_changes_after_the_plan_is_an_error(tmp_path, qdrant):
    name = "recipekit-test-changing"
    fields = f"use: qdrant, encoder: student, url: '{qdrant.url}', collection: {name}"
    dense = f"mine:\n  retrievers:\n    dense: {{{fields}}}\n"
    client = QdrantClient(url=qdrant.url, check_compatibility=False)
    client.create_collection(
        name, vectors_config=models.VectorParams(size=4, distance=models.Distance.DOT)
    )
    client.upload_collection(name, vectors=np.eye(4, dtype=np.float32), ids=range(4), wait=True)
    recipe = loaded(tmp_path, PAIRS + dense)
    planned = {
        "section": {
            "retrievers": {
                "dense": {"fingerprint": recipe.mine.retrievers["dense"].spec.fingerprint()}
            }
        }
    }

    check_unchanged("mine", recipe.mine, planned)
    client.upload_collection(name, vectors=np.eye(4, dtype=np.float32)[:1], ids=[99], wait=True)
    with pytest.raises(
        RunError,
        match=r"mine: what retrievers.dense reads has changed since .*points: 4 → 5.*run again",
    ):
        check_unchanged("mine", recipe.mine, planned)
    client.delete_collection(name)
    with pytest.raises(
        ComponentError,
        match=rf"mine: retrievers.dense: Qdrant at {qdrant.url}, "
        rf"collection '{name}' does not exist",
    ):
        check_unchanged("mine", recipe.mine, planned)
    client.close()


@pytest.fixture
def read_from_an_index(tmp_path, elasticsearch_url, foreign_index):
    """A recipe that collects from an index, and the index."""
    index = foreign_index({"d1": {"text": "red"}, "d2": {"text": "hen"}})
    (tmp_path / "queries.jsonl").write_text(json.dumps({"_id": "q1", "text": "red"}) + "\n")
    (tmp_path / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    files = "queries: queries.jsonl, qrels: {train: train.tsv}"
    source = (
        f"    books: {{use: elasticsearch, url: '{elasticsearch_url}', index: {index}, {files}}}\n"
    )
    return loaded(tmp_path, source), index


def test_a_source_index_that_changes_after_the_plan_is_an_error(
    read_from_an_index, elasticsearch_url, tmp_path
):
    recipe, index = read_from_an_index
    [collect] = plan(recipe, cache=tmp_path / "cache").stages
    check_unchanged("collect", recipe.collect, collect.identity)
    with elasticsearch.Elasticsearch(elasticsearch_url) as client:
        client.index(index=index, id="d3", document={"text": "late"}, refresh=True)
        with pytest.raises(
            RunError,
            match=rf"collect: what sources.books reads has changed since .*{index}.*run again",
        ):
            check_unchanged("collect", recipe.collect, collect.identity)
        client.indices.delete(index=index)
    with pytest.raises(
        ComponentError,
        match=rf"collect: sources.books: Elasticsearch at .*, index '{index}' does not exist",
    ):
        check_unchanged("collect", recipe.collect, collect.identity)


def test_a_changed_index_is_collected_again(read_from_an_index, elasticsearch_url, tmp_path):
    recipe, index = read_from_an_index
    first = run(recipe, cache=tmp_path / "cache", runs=tmp_path / "runs")
    again = run(recipe, cache=tmp_path / "cache", runs=tmp_path / "runs")
    with elasticsearch.Elasticsearch(elasticsearch_url) as client:
        client.index(index=index, id="d3", document={"text": "late"}, refresh=True)
    changed = run(recipe, cache=tmp_path / "cache", runs=tmp_path / "runs")
    assert [found.ran for found in (first, again, changed)] == [("collect",), (), ("collect",)]


def test_components_that_are_not_live_are_not_checked_again(tmp_path):
    """The plan fixes a Hub commit, so stages do not look it up again."""
    recipe = loaded(tmp_path, "    hub: {use: hub, dataset: owner/name, layout: beir}\n")
    check_unchanged(
        "collect",
        recipe.collect,
        {"section": {"sources": {"hub": {"fingerprint": {"dataset": "a-commit"}}}}},
    )
