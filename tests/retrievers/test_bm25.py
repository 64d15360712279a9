import json
import math
from collections import Counter
from pathlib import Path

import bm25s.tokenization
import numpy as np
import pytest
import Stemmer
from pydantic import ValidationError

from recipekit.component import QueryBatch
from recipekit.dataset import Dataset
from recipekit.errors import DataError
from recipekit.retrievers.bm25 import LANGUAGES, STEMMERS, STOP_LISTS, UNSPACED, Bm25Spec
from recipekit.testing import RecordingProgress, context

DATA = Path(__file__).parents[2].parent / "shared" / "data"


def search(spec, dataset, scratch, texts, depth=10, progress=None):
    retriever = spec.build(
        context(scratch, dataset=dataset, progress=progress or RecordingProgress())
    )
    return retriever.search(QueryBatch(np.arange(len(texts)), texts), depth)


def corpus(make_dataset, *texts) -> Dataset:
    return make_dataset(
        [("q", "a query", "train")],
        [(f"p{i}", text) for i, text in enumerate(texts)],
        {(0, 0): 1.0},
    )


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_scores_equal_lucene(make_dataset, tmp_path):
    texts = ["red fox red", "red hen", "blue whale in the deep blue sea", "hen"]
    dataset = corpus(make_dataset, *texts)
    hits = search(
        Bm25Spec(stemmer="none", stop_words="none"), dataset, tmp_path, ["red hen red"], depth=4
    )

    counts = [Counter(text.split()) for text in texts]
    mean = np.mean([count.total() for count in counts])
    expected = np.zeros(4)
    for term in ("red", "hen", "red"):
        df = sum(term in count for count in counts)
        idf = math.log(1 + (4 - df + 0.5) / (df + 0.5))
        for row, count in enumerate(counts):
            expected[row] += (
                idf * count[term] / (count[term] + 0.9 * (1 - 0.4 + 0.4 * count.total() / mean))
            )
    assert hits.rows.tolist() == [[1, 0, 3, -1]], "a passage without a query word is not a hit"
    np.testing.assert_allclose(hits.scores[0, :3], expected[[1, 0, 3]], rtol=1e-5)
    assert np.isneginf(hits.scores[0, 3])


def test_queries_are_analyzed_like_passages(make_dataset, tmp_path):
    dataset = corpus(make_dataset, "The cats are sleeping", "a dog", "the the the")
    hits = search(Bm25Spec(), dataset, tmp_path, ["sleep, cat!", "the", "zebra", ""], depth=2)
    assert hits.rows.tolist() == [[0, -1], [-1, -1], [-1, -1], [-1, -1]]


def test_custom_stop_words_are_removed(make_dataset, tmp_path):
    dataset = corpus(make_dataset, "the Function", "class")
    assert search(
        Bm25Spec(stop_words=("FUNCTION",)), dataset, tmp_path, ["function", "the"], 1
    ).rows.tolist() == [[-1], [0]]


def test_ties_go_to_the_lower_row_even_at_the_edge(make_dataset, tmp_path):
    dataset = corpus(make_dataset, *["same words"] * 30, "same words and more same words")
    hits = search(Bm25Spec(), dataset, tmp_path, ["same words"], depth=5)
    assert hits.rows.tolist() == [[30, 0, 1, 2, 3]]


def test_the_index_is_an_artifact_without_pickles_and_is_reused(tiny_dataset, tmp_path):
    built = []

    def artifact(name, identity, build):
        json.dumps(identity)
        if identity not in built:
            (tmp_path / str(len(built))).mkdir()
            build(tmp_path / str(len(built)))
            built.append(identity)
        return tmp_path / str(built.index(identity))

    for spec in (Bm25Spec(), Bm25Spec(depth=7), Bm25Spec(b=0.75)):
        retriever = spec.build(context(tmp_path, dataset=tiny_dataset, artifact=artifact))
        rows = tiny_dataset.rows("train")
        hits = retriever.search(QueryBatch(rows, tiny_dataset.queries.texts(rows)), 5)
        assert (hits.rows == rows[:, None]).any(axis=1).all(), (
            "each query consists of words of its passage"
        )
    assert len(built) == 2, "the depth does not change the index"
    files = list((tmp_path / "0").iterdir())
    assert {file.suffix for file in files} == {".npy", ".json"}
    for file in files:
        if file.suffix == ".npy":
            np.load(file, allow_pickle=False)


def test_chinese_is_searched_by_bigrams(make_dataset, tmp_path):
    dataset = corpus(make_dataset, "北京是中国的首都", "东京是日本的首都", "我喜欢猫")
    assert search(
        Bm25Spec(language="chinese"), dataset, tmp_path, ["中国首都", "猫"], 2
    ).rows.tolist() == [[0, 1], [-1, -1]]


def test_a_script_without_spaces_is_warned_about_unless_configured(make_dataset, tmp_path):
    dataset, progress = (
        corpus(make_dataset, "北京是中国的首都", "东京是日本的首都"),
        RecordingProgress(),
    )
    search(Bm25Spec(), dataset, tmp_path / "english", ["中国"], progress=progress)
    assert progress.warnings == [
        "bm25: 100% of the passages' characters belong to a script without spaces between words, "
        "but language 'english' splits at spaces: name the language (burmese, chinese, japanese, "
        "khmer, lao, thai), or set tokenization: bigrams"
    ]
    search(
        Bm25Spec(tokenization="bigrams"), dataset, tmp_path / "bigrams", ["中国"], progress=progress
    )
    search(
        Bm25Spec(language="chinese", tokenization="words"),
        dataset,
        tmp_path / "words",
        ["中国"],
        progress=progress,
    )
    assert len(progress.warnings) == 1


def test_passages_without_words_are_an_error(make_dataset, tmp_path):
    with pytest.raises(DataError, match="no words to index in 2 passages"):
        search(Bm25Spec(), corpus(make_dataset, "", "the"), tmp_path, ["x"])


def test_a_misspelt_language_is_a_validation_error(assert_light):
    with pytest.raises(
        ValidationError,
        match=r"unknown 'englsh'. Did you mean 'english'\? Choose from arabic, .*write 'none'",
    ):
        Bm25Spec(language="englsh")
    with pytest.raises(ValidationError, match=r"unknown 'porter2'\. Did you mean 'porter'\?"):
        Bm25Spec(stemmer="porter2")
    assert_light("recipekit.retrievers.bm25", "bm25s", "Stemmer", "torch")


def test_names_equal_those_of_the_libraries():
    assert list(STEMMERS) == Stemmer.algorithms()
    for language in STOP_LISTS:
        assert bm25s.tokenization._infer_stopwords(language)
    assert {*STOP_LISTS, *UNSPACED} < set(LANGUAGES)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "expected", "tolerance"), [("nfcorpus", 0.32, 0.006), ("scifact", 0.68, 0.01)]
)
def test_ndcg_equals_published_baselines_on_beir(name, expected, tolerance, make_dataset, tmp_path):
    import pytrec_eval

    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"needs the BEIR data in {folder}")
    passages = [
        (entry["_id"], f"{entry['title']} {entry['text']}")
        for entry in lines(folder / "corpus.jsonl")
    ]
    texts = {entry["_id"]: entry["text"] for entry in lines(folder / "queries.jsonl")}
    qrels: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]:
        query, passage, grade = line.split("\t")
        qrels.setdefault(query, {})[passage] = int(grade)
    dataset = make_dataset(
        [(query, texts[query], "test") for query in qrels], passages, {(0, 0): 1.0}
    )

    hits = search(
        Bm25Spec(), dataset, tmp_path / "index", [texts[query] for query in qrels], depth=100
    )
    run = {
        query: {
            passages[row][0]: float(score)
            for row, score in zip(rows, scores, strict=True)
            if row >= 0
        }
        for query, rows, scores in zip(qrels, hits.rows, hits.scores, strict=True)
    }
    measured = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10"}).evaluate(run)
    assert sum(value["ndcg_cut_10"] for value in measured.values()) / len(qrels) == pytest.approx(
        expected, abs=tolerance
    )
