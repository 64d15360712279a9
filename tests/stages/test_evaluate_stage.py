"""The evaluate stage with and without a trained encoder."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.ranks import FakeRanks
from helpers.train_inputs import trained_artifact
from recipekit.artifacts.key import FileHashes
from recipekit.artifacts.store import Artifact, Store
from recipekit.component import Slot
from recipekit.dataset import Dataset
from recipekit.errors import RunError
from recipekit.registry import load, resolve
from recipekit.stages.evaluate.costs import _in_turn, baseline_efficiency
from recipekit.stages.evaluate.evaluate import evaluate
from recipekit.stages.evaluate.section import EvaluateSection
from recipekit.stages.inputs import StageInputs
from recipekit.tables import read_table
from recipekit.testing import RecordingProgress


def slot(kind: str, use: str, **fields: Any) -> Slot:
    bound, entry = Slot(use=use, **fields), resolve(kind, use)
    bound.bind(entry, load(entry).model_validate(fields))
    return bound


def section(**fields: Any) -> EvaluateSection:
    held_out = slot("evaluator", "retrieval", metrics=["mrr@10", "recall@5"], bootstrap_samples=200)
    whole = {
        "evaluators": {"held_out": held_out},
        "baselines": {"bm25": slot("retriever", "bm25")},
        **fields,
    }
    return EvaluateSection.model_construct(
        **{**EvaluateSection(evaluators={"x": Slot(use="x")}).__dict__, **whole}
    )


@pytest.fixture
def inputs(tiny_dataset: Dataset, tmp_path: Path) -> Callable[..., StageInputs]:
    def make(**fields: Any) -> StageInputs:
        given: dict[str, Any] = {"artifacts": {}, "encoders": {}, "trained": None, **fields}
        given["artifacts"] = {
            "collect": Artifact("collect", "test-dataset", tiny_dataset.path),
            **given["artifacts"],
        }
        return StageInputs(
            "tiny",
            13,
            store=Store(tmp_path / "store"),
            hashes=FileHashes(),
            progress=RecordingProgress(),
            **given,
        )

    return make


def test_the_trained_encoder_is_compared_with_the_untrained_one_and_bm25(
    inputs: Callable[..., StageInputs], tiny_model: Path, tmp_path: Path
):
    train = tmp_path / "train"
    shutil.copytree(tiny_model, train / "encoder")
    student = slot("encoder", "bi_encoder", model=str(tiny_model))
    given = inputs(
        encoders={"student": student},
        trained="student",
        artifacts={"train": trained_artifact(train)},
    )
    out = tmp_path / "out"
    out.mkdir()

    summary = evaluate(given, section(), out)

    assert summary == {
        "systems": ["bm25", "untrained", "trained"],
        "similarity": {"untrained": "cosine", "trained": "cosine"},
        "evaluators": ["held_out"],
        "figures": 6,
    }
    rows = json.loads((out / "metrics.json").read_text())
    assert [(row["evaluator"], row["split"], row["system"], row["metric"]) for row in rows] == [
        ("held_out", "test", system, metric)
        for system in summary["systems"]
        for metric in ("mrr@10", "recall@5")
    ]
    by_name = {(row["system"], row["metric"]): row for row in rows}
    # Three passages have both words of a query, one of them its positive. The "trained" weights
    # equal the untrained ones and are not better.
    assert by_name["bm25", "recall@5"]["value"] == 1.0
    trained = by_name["trained", "mrr@10"]
    assert trained["value"] == by_name["untrained", "mrr@10"]["value"]
    assert trained["differences"]["untrained"] == {
        "difference": 0.0,
        "low": 0.0,
        "high": 0.0,
        "p_value": 1.0,
        "p_adjusted": 1.0,
    }
    assert set(trained["differences"]) == {"bm25", "untrained"}
    top = read_table(out / "rankings" / "held_out" / "top.arrow").to_pylist()
    assert [row["rank"] for row in top if row["system"] == "trained"] == list(range(1, 11)) * 6
    assert read_table(out / "rankings" / "held_out" / "per_query.arrow").num_rows == 6 * 3 * 2
    assert {stage for stage, _ in given.by_products} == {"bm25", "embeddings", "tokens"}


def test_a_recipe_without_encoders_measures_its_baselines(
    inputs: Callable[..., StageInputs], tmp_path: Path
):
    out = tmp_path / "out"
    out.mkdir()
    assert evaluate(inputs(), section(), out)["systems"] == ["bm25"]
    assert {row["system"] for row in json.loads((out / "metrics.json").read_text())} == {"bm25"}


def test_all_ranks_rank_and_only_the_main_one_measures(
    inputs: Callable[..., StageInputs], tmp_path: Path
):
    evaluate(inputs(), section(), _folder(tmp_path / "main"))
    assert (
        evaluate(inputs(ranks=FakeRanks(rank=1, count=2)), section(), _folder(tmp_path / "other"))
        == {}
    )
    assert not (tmp_path / "other" / "metrics.json").exists()


def test_texts_are_embedded_by_the_recipes_encoders_without_encoding_the_corpus(
    inputs: Callable[..., StageInputs], tiny_model: Path, tmp_path: Path
):
    file = tmp_path / "sts.jsonl"
    pairs = [("river", "valley", 1), ("river", "ocean", 2), ("gear", "gear", 5)]
    rows = [{"sentence1": a, "sentence2": b, "score": score} for a, b, score in pairs]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    student = slot("encoder", "bi_encoder", model=str(tiny_model))
    sts = slot("evaluator", "sts", file=file, bootstrap_samples=100)
    given = inputs(encoders={"student": student}, artifacts={})
    out = _folder(tmp_path / "out")

    summary = evaluate(given, section(evaluators={"sts": sts}), out)

    assert summary["systems"] == ["untrained"]
    rows = json.loads((out / "metrics.json").read_text())
    assert rows[0]["metric"] == "spearman_cosine"
    assert rows[0]["value"] > 0.4, "the equal texts have the highest score"
    assert given.by_products == []


def test_a_corpus_that_is_not_trained_on_is_measured_too(
    inputs: Callable[..., StageInputs], tiny_model: Path, tmp_path: Path
):
    train = tmp_path / "train"
    shutil.copytree(tiny_model, train / "encoder")
    file = tmp_path / "general.jsonl"
    pairs = [{"query": f"w{n} question", "positive": f"w{n} answer"} for n in range(8)]
    file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    given = inputs(
        encoders={"student": slot("encoder", "bi_encoder", model=str(tiny_model))},
        trained="student",
        artifacts={"train": trained_artifact(train)},
    )
    fields = {"metrics": ["recall@1"], "bootstrap_samples": 100}
    chosen = section(
        evaluators={
            "forgotten": slot("evaluator", "retrieval", source="general", **fields),
            "held_out": slot("evaluator", "retrieval", **fields),
        },
        sources={"general": slot("source", "pairs", file=file)},
    )
    out = _folder(tmp_path / "out")

    summary = evaluate(given, chosen, out)

    assert summary["systems"] == ["bm25", "untrained", "trained"]
    rows = json.loads((out / "metrics.json").read_text())
    assert [(row["evaluator"], row.get("source"), row["queries"]) for row in rows] == [
        *[("forgotten", "general", 8)] * 3,
        *[("held_out", None, 6)] * 3,
    ]
    assert rows[0]["system"] == "bm25" and rows[0]["value"] == 1.0
    assert "untrained" in rows[2]["differences"]
    assert "evaluation_data" in {kind for kind, _ in given.by_products}


@pytest.mark.slow
def test_mteb_measures_a_further_data_set_as_our_retrieval_does(
    inputs: Callable[..., StageInputs], tiny_model: Path, tmp_path: Path
):
    file = tmp_path / "general.jsonl"
    pairs = [{"query": f"w{n} w1 question", "positive": f"w{n} w2 answer"} for n in range(8)]
    file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    given = inputs(encoders={"student": slot("encoder", "bi_encoder", model=str(tiny_model))})
    ours = slot(
        "evaluator", "retrieval", source="general", metrics=["ndcg@10"], bootstrap_samples=100
    )
    theirs = slot("evaluator", "mteb", source="general", retrieval={"own": {"split": "test"}})
    chosen = section(
        evaluators={"ours": ours, "theirs": theirs},
        sources={"general": slot("source", "pairs", file=file)},
    )
    out = _folder(tmp_path / "out")

    evaluate(given, chosen, out)

    rows = json.loads((out / "metrics.json").read_text())
    values = {(row["evaluator"], row["system"]): row["value"] for row in rows}
    assert {row["source"] for row in rows} == {"general"}
    expected = values["ours", "untrained"]
    assert values["theirs", "untrained"] == pytest.approx(expected, abs=1e-4)


def test_compressed_vectors_a_second_stage_and_a_hybrid_are_measured_with_their_cost(
    inputs: Callable[..., StageInputs], tiny_model: Path, tiny_cross_encoder: Path, tmp_path: Path
):
    student = slot("encoder", "bi_encoder", model=str(tiny_model))
    cross = slot("encoder", "cross_encoder", model=str(tiny_cross_encoder))
    hybrid = slot("retriever", "hybrid", retrievers={"lexical": {"use": "bm25"}, "dense": {
        "use": "exact", "encoder": "student"}})  # fmt: skip
    for name, part in hybrid.spec.retrievers.items():
        entry = resolve("retriever", part.use)
        part.bind(entry, load(entry).model_validate(part.fields), f"retrievers.{name}")
    held_out = slot(
        "evaluator",
        "retrieval",
        metrics=["mrr@10"],
        bootstrap_samples=100,
        compression=["int8", {"pca": 8}],
        rerank={"encoder": "cross", "depth": 5, "systems": ["bm25", "untrained"]},
    )
    baselines = {"bm25": slot("retriever", "bm25"), "hybrid": hybrid}
    given = inputs(encoders={"student": student, "cross": cross})
    chosen = section(evaluators={"held_out": held_out}, baselines=baselines)
    out = _folder(tmp_path / "out")

    assert evaluate(given, chosen, out)["systems"] == ["bm25", "hybrid", "untrained"]

    rows = json.loads((out / "metrics.json").read_text())
    assert [(row["system"], row.get("variant_of")) for row in rows] == [
        ("bm25", None),
        ("hybrid", None),
        ("untrained", None),
        ("untrained int8", "untrained"),
        ("untrained pca-8", "untrained"),
        ("bm25 + cross", "bm25"),
        ("untrained + cross", "untrained"),
    ]
    assert set(rows[2]["differences"]) == {"bm25", "hybrid"}
    costs = json.loads((out / "rankings/held_out/efficiency.json").read_text())
    encoder = costs["untrained"]
    assert encoder["parameters"] == sum(
        each.numel() for each in given.encoder("student").parts.parameters()
    )
    assert (encoder["dimension"], encoder["bytes_per_vector"]) == (32, 128)
    assert encoder["passages_per_second"] > 0 and encoder["queries_per_second"] > 0
    assert encoder["device"] == "CPU" and encoder["precision"].startswith("bf16")
    assert costs["hybrid"]["index_bytes"] == costs["bm25"]["index_bytes"] + encoder["index_bytes"]
    of_encoder = {"parameters", "dimension", "queries_per_second", "device", "precision"}
    assert {name: costs["hybrid"].get(name) for name in of_encoder} == {
        name: encoder[name] for name in of_encoder
    }
    assert not of_encoder & set(costs["bm25"])
    assert costs["untrained + cross"]["pairs"] == 30

    again = _folder(tmp_path / "again")
    evaluate(given, chosen, again)
    kept = json.loads((again / "rankings/held_out/efficiency.json").read_text())["untrained"]
    speeds = ("passages_per_second", "queries_per_second", "device")
    assert [kept[name] for name in speeds] == [encoder[name] for name in speeds]


def test_an_evaluator_of_encoders_needs_one(inputs: Callable[..., StageInputs], tmp_path: Path):
    file = tmp_path / "sts.jsonl"
    rows = [{"sentence1": "a", "sentence2": "b", "score": score} for score in (1, 2)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    both = {
        "held_out": slot("evaluator", "retrieval", bootstrap_samples=100),
        "sts": slot("evaluator", "sts", file=file),
    }
    with pytest.raises(RunError, match="'sts' measures encoders, and there is none"):
        evaluate(inputs(), section(evaluators=both), _folder(tmp_path / "out"))


def test_evaluators_of_texts_alone_have_the_cost_of_the_encoder(
    inputs: Callable[..., StageInputs], tiny_model: Path, tmp_path: Path
):
    file = tmp_path / "sts.jsonl"
    rows = [{"sentence1": "a", "sentence2": "b c", "score": 1}, {"sentence1": "a", "sentence2": "c",
            "score": 2}]  # fmt: skip
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = inputs(encoders={"student": slot("encoder", "bi_encoder", model=str(tiny_model))})
    out = _folder(tmp_path / "out")
    evaluate(given, section(evaluators={"sts": slot("evaluator", "sts", file=file)}), out)

    costs = json.loads((out / "rankings/sts/efficiency.json").read_text())
    assert set(costs) == {"untrained"}
    assert costs["untrained"]["parameters"] > 0 and costs["untrained"]["dimension"] == 32
    assert costs["untrained"]["queries_per_second"] > 0
    assert "passages_per_second" not in costs["untrained"], "sts embeds all texts as queries"


def test_queries_that_several_encoders_embed_take_the_time_of_all():
    assert _in_turn([100.0, 50.0]) == pytest.approx(100 / 3, abs=0.01)
    assert _in_turn([100.0, None]) is None and _in_turn([]) is None


def test_an_index_of_unknown_size_is_not_taken_for_a_small_one():
    class OnServer:
        def __init__(self, size: int | None) -> None:
            self.index_bytes = size

    def size(on_server: object, here: int | None) -> int | None:
        return baseline_efficiency(on_server, [], here, is_main=True).index_bytes  # type: ignore[arg-type]

    assert size(OnServer(7), 5) == 12
    assert size(OnServer(None), 5) is None
    assert size(object(), 5) == 5
    assert size(OnServer(0), None) is None


def test_a_stage_without_systems_is_an_error(inputs: Callable[..., StageInputs], tmp_path: Path):
    with pytest.raises(RunError, match="no system to measure"):
        evaluate(inputs(), section(baselines={}), _folder(tmp_path / "out"))


def test_a_baseline_cannot_have_the_name_of_the_encoder():
    with pytest.raises(ValueError, match="baselines: 'trained' is the encoder's name"):
        EvaluateSection(
            evaluators={"x": Slot(use="retrieval")}, baselines={"trained": Slot(use="bm25")}
        )


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
