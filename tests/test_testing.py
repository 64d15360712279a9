"""Every built-in component passes the check of its kind, and broken components fail it."""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest

from recipekit.component import (
    KINDS,
    Component,
    Context,
    Embeddings,
    EvaluatorSpec,
    ExporterSpec,
    Hits,
    JudgeSpec,
    LossSpec,
    RetrieverSpec,
    SourceSpec,
    System,
    Verdicts,
)
from recipekit.records import Label, Passage, Query, Verdict
from recipekit.registry import find, load, resolve
from recipekit.tables import CANDIDATES, write_table
from recipekit.testing import (
    bind,
    check_encoder,
    check_evaluator,
    check_exporter,
    check_judge,
    check_loss,
    check_phase,
    check_retriever,
    check_source,
    check_spec,
    check_vector_source,
    context,
)

FIELDS: dict[tuple[str, str], dict[str, Any]] = {
    ("source", "python_code"): {"folder": "code"},
    ("source", "pairs"): {"file": "pairs.jsonl"},
    ("source", "beir"): {"folder": "beir"},
    ("source", "hub"): {"folder": "hub"},
    ("retriever", "bm25"): {},
    ("retriever", "exact"): {"encoder": "student"},
    ("judge", "margin"): {"encoder": "student"},
    ("judge", "labels"): {
        "file": "labels.tsv",
        "unlisted_pairs": "negative",
        "coverage": 0.8,
        "error_rate": 0.1,
    },
    ("encoder", "bi_encoder"): {"model": "MODEL", "precision": "fp32"},
    ("loss", "exact_softmax"): {},
    ("vector_source", "vectors_file"): {"path": "vectors.npy"},
    ("loss", "infonce"): {"directions": "both"},
    ("loss", "matryoshka"): {"loss": {"use": "exact_softmax"}, "dimensions": [8, 2]},
    ("loss", "sentence_transformers"): {"loss": "MultipleNegativesRankingLoss"},
    ("evaluator", "retrieval"): {
        "split": "test",
        "metrics": ["ndcg@10", "recall@20"],
        "bootstrap_samples": 200,
    },
    ("exporter", "sentence_transformers"): {},
    ("exporter", "dataset"): {"num_negatives": 1},
}
"""The fields that each built-in is checked with; paths start at the test's folder."""
ENGINES = {
    ("source", "elasticsearch"),
    ("retriever", "elasticsearch"),
    ("retriever", "qdrant"),
    ("vector_source", "elasticsearch_vectors"),
    ("vector_source", "qdrant_vectors"),
}
PHASES = {("phase", "coordinate_ascent"): "exact_softmax", ("phase", "in_batch"): "infonce"}
"""The phases, which are checked with these losses."""
ELSEWHERE = {
    *ENGINES,
    *PHASES,
    ("judge", "llm"),
    ("judge", "cross_encoder"),
    ("encoder", "cross_encoder"),
    ("encoder", "precomputed"),
    ("retriever", "hybrid"),
    ("exporter", "embeddings"),
    ("phase", "masked_language_model"),
    ("loss", "sentence_transformers"),
    *(("evaluator", name) for name in ("sts", "pairs", "triplets", "bitext", "reranking", "mteb")),
}
"""What needs a server, a model or texts of its own, and is checked where its tests have one."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Small files for the components that read some."""
    (tmp_path / "code").mkdir()
    function = (
        'def turn_{0}(speed):\n    """Turn the {0} at the given speed."""\n'
        "    return [speed * step for step in range(100) if step % 7]\n"
    )
    functions = [function.format(name) for name in ("wheel", "gear", "valve")]
    (tmp_path / "code" / "machine.py").write_text("\n\n".join(functions))
    pairs = [{"query": f"question {i}", "positive": f"answer {i}"} for i in range(4)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "train.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    (tmp_path / "labels.tsv").write_text(
        "\n".join(["query-id\tcorpus-id\tscore", *(f"q{i}\tp{i}\t1" for i in range(24))])
    )
    np.save(tmp_path / "vectors.npy", np.eye(36, 8, dtype=np.float32))
    (tmp_path / "beir" / "qrels").mkdir(parents=True)
    (tmp_path / "beir" / "corpus.jsonl").write_text(
        '{"_id": "a", "title": "T", "text": "one"}\n{"_id": "b", "title": "", "text": "two"}\n'
    )
    (tmp_path / "beir" / "queries.jsonl").write_text(
        '{"_id": "1", "text": "first"}\n{"_id": "2", "text": "second"}\n'
    )
    (tmp_path / "beir" / "qrels" / "train.tsv").write_text(
        "query-id\tcorpus-id\tscore\n1\ta\t1\n2\tb\t1\n2\ta\t0\n"
    )
    return tmp_path


@pytest.fixture
def made(folder: Path, tiny_dataset) -> Context:
    """A context over the tiny data set; the embeddings of `student` are counts of words."""
    words = sorted(
        {word for text in tiny_dataset.passages.texts(range(36)) for word in text.split()}
    )
    tables = {"query": tiny_dataset.queries, "passage": tiny_dataset.passages}

    def embeddings(name: str, side: str) -> Embeddings:
        counts = np.array(
            [
                [text.split().count(word) for word in words]
                for text in tables[side].texts(range(len(tables[side])))
            ],
            np.float32,
        )
        return Embeddings(folder, counts / np.linalg.norm(counts, axis=1, keepdims=True), "cosine")

    return context(folder / "scratch", dataset=tiny_dataset, embeddings=embeddings)


@pytest.fixture
def artifacts(folder: Path, tiny_dataset, tiny_model) -> Mapping[str, Path]:
    """What finished stages wrote: candidates, and an encoder that was trained."""
    rows = [
        (q, (q + step) % 36, step == 0, 1.0 / (1 + step)) for q in range(12) for step in range(4)
    ]
    write_table(
        folder / "candidates.arrow",
        CANDIDATES,
        [pa.table(list(zip(*rows, strict=True)), schema=CANDIDATES)],
    )
    shutil.copytree(tiny_model, folder / "encoder")
    return {"candidates": folder / "candidates.arrow", "encoder": folder / "encoder"}


def component(kind: str, name: str, folder: Path, model: Path) -> Any:
    fields = {
        key: str(model) if value == "MODEL" else value for key, value in FIELDS[kind, name].items()
    }
    spec = load(resolve(kind, f"recipekit/{name}"))
    if kind == "loss":  # a loss may contain another one
        return bind(spec, fields)
    return spec.model_validate(fields, context={"folder": folder})


def ours(*kinds: str) -> list[tuple[str, str]]:
    return [key for key in FIELDS if key[0] in kinds]


def test_every_built_in_component_is_checked():
    assert set(FIELDS) | ELSEWHERE == {
        (kind, entry.name)
        for kind in KINDS
        for entry in find(kind)
        if entry.distribution == "recipekit"
    }


@pytest.mark.parametrize(
    ("kind", "name"), ours("source", "retriever", "judge", "encoder", "vector_source", "loss")
)
def test_built_in_components_pass_the_check_of_their_kind(kind, name, folder, made, tiny_model):
    check = {
        "source": check_source,
        "retriever": check_retriever,
        "judge": check_judge,
        "encoder": check_encoder,
        "vector_source": check_vector_source,
        "loss": check_loss,
    }[kind]
    check(component(kind, name, folder, tiny_model), made)


@pytest.mark.parametrize(("kind", "name"), PHASES)
def test_phases_pass_their_check(kind, name, tmp_path, tiny_dataset, tiny_model):
    spec = bind(load(resolve(kind, name)), {"loss": {"use": PHASES[kind, name]}})
    encoder = component("encoder", "bi_encoder", tmp_path, tiny_model).build(context(tmp_path))
    check_phase(spec, encoder, context(tmp_path, dataset=tiny_dataset))


def test_the_retrieval_evaluator_passes_its_check(folder, made, tiny_model):
    systems = [
        System("bm25", lambda: component("retriever", "bm25", folder, tiny_model).build(made)),
        System("trained", lambda: component("retriever", "exact", folder, tiny_model).build(made)),
    ]
    check_evaluator(component("evaluator", "retrieval", folder, tiny_model), made, systems)


@pytest.mark.parametrize(("kind", "name"), ours("exporter"))
def test_exporters_pass_their_check(kind, name, folder, made, artifacts, tiny_model):
    card = {
        "name": "demo",
        "description": "A demonstration.",
        "recipe": "recipe: 1\n",
        "base_model": "some/model",
        "metrics": [],
        "counts": {},
    }
    check_exporter(
        component(kind, name, folder, tiny_model),
        made,
        artifacts,
        {**card, "versions": {}, "command": "recipekit run demo.yaml"},
    )


# What the checks see
# -------------------------------------------------------------------------------------------------


class Listed(SourceSpec):
    """Gives the configured records."""

    records: tuple[tuple[str, ...], ...]
    """Each a class's first letter and the class's fields."""

    counts: ClassVar[dict[str, int]] = {}

    def located(self) -> Iterator[Any]:
        return iter(())

    def build(self, context: Context) -> Any:
        return self

    def load(self) -> Any:
        kinds = {"P": Passage, "Q": Query, "L": Label, "T": str}
        return (kinds[kind](*fields) for kind, *fields in self.records)


P, Q = ("P", "p", "text"), ("Q", "q", "text")


@pytest.mark.parametrize(
    ("records", "sentence"),
    [
        ([P], "yields no Query"),
        ([P, P, Q], "two Passage records with one id"),
        ([P, ("Q", "q", "text", "validation")], "has the split 'validation'"),
        ([P, Q, ("L", "q", "nowhere")], "refers to 'q' and 'nowhere'"),
        ([P, Q, ("T", "text")], "yields a str; it must yield Passage, Query and Label"),
    ],
)
def test_a_broken_source_fails_its_check(made, records, sentence):
    check_source(Listed(records=[P, Q, ("L", "q", "p")]), made)
    with pytest.raises(AssertionError, match=sentence):
        check_source(Listed(records=records), made)


class Ranked(RetrieverSpec):
    """Gives the same hits for every query, best first."""

    rows: tuple[int, ...]
    """Passage rows."""
    scores: tuple[float | None, ...]
    """Their scores; null is -inf."""

    counts: ClassVar[dict[str, int]] = {}
    searches_on_all_ranks: ClassVar[bool] = False

    def build(self, context: Context) -> Any:
        return self

    def search(self, queries: Any, depth: int) -> Hits:
        rows = np.full((len(queries), depth), -1, np.int32)
        scores = np.full((len(queries), depth), -np.inf, np.float32)
        n = min(depth, len(self.rows))
        rows[:, :n], scores[:, :n] = (
            self.rows[:n],
            [-np.inf if score is None else score for score in self.scores[:n]],
        )
        return Hits(rows, scores)


@pytest.mark.parametrize(
    ("rows", "scores", "sentence"),
    [
        ((3, 4), (1.0, 2.0), "not sorted by descending score"),
        ((4, 3), (1.0, 1.0), "a tie is not broken by the lower row"),
        ((3, 4, 3), (3.0, 2.0, 1.0), "twice among the hits of a query"),
        ((3, -1, 4), (3.0, None, 1.0), "a hit follows an empty position"),
        ((3, -1), (3.0, 1.0), "must be at the same positions"),
        ((99,), (1.0,), "a passage row is out of range"),
        ((), (), "finds nothing for any query"),
    ],
)
def test_a_broken_retriever_fails_its_check(made, rows, scores, sentence):
    check_retriever(Ranked(rows=(3, 4), scores=(2.0, 1.0)), made)
    with pytest.raises(AssertionError, match=sentence):
        check_retriever(Ranked(rows=rows, scores=scores), made)


class Normalized(Ranked):
    """Divides scores by the size of the batch."""

    searches_on_all_ranks: ClassVar[bool] = True

    def search(self, queries: Any, depth: int) -> Hits:
        hits = super().search(queries, depth)
        return Hits(hits.rows, hits.scores / np.float32(len(queries)))


def test_a_retriever_whose_hits_depend_on_the_batch_cannot_search_on_all_ranks(made):
    with pytest.raises(AssertionError, match="searches_on_all_ranks must be False"):
        check_retriever(Normalized(rows=(3, 4), scores=(2.0, 1.0)), made)


class Speaks(JudgeSpec):
    """Judges correctly except for one configured fault."""

    fault: str = ""
    """What it does wrong."""

    counts: ClassVar[dict[str, int]] = {}
    figures: ClassVar[dict[str, float]] = {}

    def build(self, context: Context) -> Any:
        return self

    def judge(self, batches: Any) -> Any:
        for number, batch in enumerate(batches):
            rows = (
                np.arange(len(batch)) if self.fault == "unwanted" else np.flatnonzero(batch.wanted)
            )
            query, passage = batch.query[rows], batch.passage[rows]
            codes = {"unjudged": -1, "batches": number % 2}.get(self.fault, 0)
            grade = {"grades": 1.0, "rounding": 1e-3}.get(self.fault, 0.0) * (number % 2)
            verdicts = Verdicts(
                query,
                passage,
                np.full(len(rows), codes, np.int8),
                grade=np.full(
                    len(rows), grade, np.float64 if self.fault == "dtype" else np.float32
                ),
            )
            yield from [verdicts] * (2 if self.fault == "twice" else 1)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("unwanted", "which is not wanted"),
        ("twice", "twice"),
        ("unjudged", "-1 is not a verdict; leave out pairs"),
        ("dtype", r"Verdicts\.grade is a float64 .*; a float32 array"),
        ("batches", "verdicts depend on the order of the queries, or on the batches"),
        ("grades", "verdicts depend on the order of the queries, or on the batches"),
    ],
)
def test_a_broken_judge_fails_its_check(made, fault, sentence):
    check_judge(Speaks(), made)
    with pytest.raises(AssertionError, match=sentence):
        check_judge(Speaks(fault=fault), made)


def test_scores_of_a_judge_can_differ_by_rounding_between_batches(made):
    check_judge(Speaks(fault="rounding"), made)


class Squares(LossSpec):
    """A loss with one configured fault."""

    fault: str
    """What it does wrong."""

    def build(self, context: Context) -> Any:
        from recipekit.losses.infonce_math import InfoNCE

        right = InfoNCE(temperature=0.5)

        def wrong(queries: Any, passages: Any, mask: Any) -> Any:
            if self.fault == "ignored":
                mask = mask.where(mask != Verdict.IGNORE, int(Verdict.NEGATIVE))
            losses = right(queries, passages, mask)
            false_slope = (queries - queries.detach()).sum(1) * (losses > 0)
            return {
                "mean": losses.mean(),
                "shift": losses + 1,
                "gradient": losses + false_slope,
            }.get(self.fault, losses)

        wrong.frozen = None  # type: ignore[attr-defined]
        return wrong


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("mean", "one value per query"),
        ("shift", "a query without a positive has a loss"),
        ("ignored", "an ignored passage changes the loss"),
        ("gradient", "the gradient is not that of the value"),
    ],
)
def test_a_broken_loss_fails_its_check(made, fault, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_loss(Squares(fault=fault), made)


class Measured(EvaluatorSpec):
    """Gives the configured rows."""

    rows: Any
    """Rows."""

    def build(self, context: Context) -> Any:
        return self

    def evaluate(self, systems: Any) -> Any:
        return self.rows


ROW = {
    "split": "test",
    "system": "a",
    "metric": "ndcg@10",
    "value": 0.5,
    "low": 0.4,
    "high": 0.6,
    "queries": 3,
}


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([{**ROW, "value": 0.7}], "outside its interval"),
        ([{**ROW, "system": "b"}], "not one of the systems"),
        ([ROW, ROW], "two rows for"),
        ([{key: value for key, value in ROW.items() if key != "queries"}], "a row lacks queries"),
        ([], "returns no rows"),
    ],
)
def test_a_broken_evaluator_fails_its_check(made, rows, sentence):
    systems = [System("a", lambda: Ranked(rows=(1,), scores=(1.0,)).build(made))]
    check_evaluator(Measured(rows=[ROW]), made, systems)
    with pytest.raises(AssertionError, match=sentence):
        check_evaluator(Measured(rows=rows), made, systems)


class Meddles(ExporterSpec):
    """Writes, or meddles with what it reads."""

    meddles: bool
    """Whether it does."""

    def build(self, context: Context) -> Any:
        return self

    def export(self, inputs: Any, card: Any, folder: Path) -> Any:
        (folder if not self.meddles else inputs["encoder"]).joinpath("new.txt").write_text("")
        (folder / "mine.txt").write_text("")
        return {}


def test_an_exporter_that_changes_its_inputs_fails_its_check(made, artifacts):
    check_exporter(
        Meddles(meddles=False), context(made.scratch / "well"), artifacts, {"name": "demo"}
    )
    with pytest.raises(AssertionError, match="changes the artifacts that it reads"):
        check_exporter(
            Meddles(meddles=True), context(made.scratch / "badly"), artifacts, {"name": "demo"}
        )


def test_rules_of_every_component_are_checked(folder):
    class Undocumented(JudgeSpec):
        """A judge with an undocumented field."""

        depth: int = 1

        def build(self, context: Context) -> Any:
            return self

    class Forgets(JudgeSpec):
        """A judge that forgets the content of its file."""

        file: Path = Path("labels.tsv")
        """A file."""

        def build(self, context: Context) -> Any:
            return self

    class Bare(JudgeSpec):
        def build(self, context: Context) -> Any:
            return self

    class Idle(JudgeSpec):
        """Builds nothing."""

    broken: list[tuple[Component, str]] = [
        (Undocumented(), "Undocumented.depth has no docstring"),
        (Forgets(), "Forgets.file is a path, whose content counts"),
        (Bare(), "Bare has no docstring"),
        (Idle(), r"Idle does not define build\(\)"),
    ]
    for spec, sentence in broken:
        with pytest.raises(AssertionError, match=sentence):
            check_spec(spec, "judge")
    with pytest.raises(AssertionError, match="Listed is not a JudgeSpec"):
        check_spec(Listed(records=()), "judge")


def test_a_heavy_import_fails_the_check(tmp_path, monkeypatch):
    (tmp_path / "heavy_judge.py").write_text(
        "import elasticsearch\nfrom recipekit.component import JudgeSpec\n"
        'class Heavy(JudgeSpec):\n    """Imports a client."""\n'
        "    def build(self, context):\n        return self\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import heavy_judge  # type: ignore[import-not-found]

    with pytest.raises(
        AssertionError,
        match="importing heavy_judge imports elasticsearch; import them inside build",
    ):
        check_spec(heavy_judge.Heavy(), "judge")
