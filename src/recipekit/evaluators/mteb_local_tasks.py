"""Local data as tasks of mteb."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mteb.abstasks.classification import AbsTaskClassification
from mteb.abstasks.clustering import AbsTaskClustering
from mteb.abstasks.pair_classification import AbsTaskPairClassification
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.sts import AbsTaskSTS
from mteb.abstasks.text.bitext_mining import AbsTaskBitextMining

from recipekit.artifacts.key import FileHashes, fields_identity, key_of

if TYPE_CHECKING:
    from recipekit.dataset import Dataset
    from recipekit.evaluators.evaluation_file import EvaluationFile
    from recipekit.evaluators.mteb import MtebSpec

__all__ = ["is_local", "local_tasks"]

LOCAL = "local/data"
"""The name of the data set of every local task."""
LANGUAGE = "eng-Latn"
"""mteb wants a language for every task; it has no code for an unknown one, and scores do not depend
on it."""
MAIN_SCORES = {
    "Retrieval": "ndcg_at_10",
    "STS": "cosine_spearman",
    "PairClassification": "max_ap",
    "BitextMining": "f1",
    "Classification": "accuracy",
    "Clustering": "v_measure",
    "Reranking": "map_at_1000",
}


def local_tasks(spec: MtebSpec, dataset: Callable[[], Dataset], scratch: Path) -> list[Any]:
    """Return the local data as tasks of mteb, whose revision is the content of the data.

    Args:
        spec: The evaluator.
        dataset: Returns the recipe's own data set.
        scratch: Where compressed tables are decompressed.
    """
    return [
        *_retrieval_tasks(spec, dataset),
        *_sts_tasks(spec, scratch),
        *_pair_tasks(spec, scratch),
        *_bitext_tasks(spec, scratch),
        *_classification_tasks(spec, scratch),
        *_clustering_tasks(spec, scratch),
        *_reranking_tasks(spec, scratch),
    ]


def is_local(task: Any) -> bool:
    """Return whether a task has local data."""
    return bool(task.metadata.dataset.get("path") == LOCAL)


def _revision(file: EvaluationFile) -> str:
    return key_of([fields_identity(file), FileHashes().of(file.file)])


def _retrieval_tasks(spec: MtebSpec, dataset: Callable[[], Dataset]) -> Iterator[Any]:
    for name, own in spec.retrieval.items():
        data = _retrieval(dataset(), own.split)
        revision = key_of([dataset().key, own.split])
        yield _task(name, "Retrieval", AbsTaskRetrieval, revision, data)


def _sts_tasks(spec: MtebSpec, scratch: Path) -> Iterator[Any]:
    for name, file in spec.sts.items():
        data = file.read(scratch)
        columns = {"sentence1": data.first, "sentence2": data.second, "score": data.scores}
        yield _task(name, "STS", AbsTaskSTS, _revision(file), _table(columns))


def _pair_tasks(spec: MtebSpec, scratch: Path) -> Iterator[Any]:
    for name, file in spec.pair_classification.items():
        pairs = file.read(scratch)
        labels = [int(label) for label in pairs.labels]
        columns = {"sentence1": pairs.first, "sentence2": pairs.second, "labels": labels}
        table = _table(columns)
        yield _task(name, "PairClassification", AbsTaskPairClassification, _revision(file), table)


def _bitext_tasks(spec: MtebSpec, scratch: Path) -> Iterator[Any]:
    for name, file in spec.bitext_mining.items():
        sentences = file.read(scratch).sentences
        subsets = {
            f"{a}-{b}": _table({"sentence1": sentences[a], "sentence2": sentences[b]})
            for a, b in combinations(sentences, 2)
        }
        names = list(subsets)
        yield _task(name, "BitextMining", AbsTaskBitextMining, _revision(file), subsets, names)


def _classification_tasks(spec: MtebSpec, scratch: Path) -> Iterator[Any]:
    for name, file in spec.classification.items():
        train = file.training_rows().read(scratch)
        test = file.read(scratch)
        numbers = {label: n for n, label in enumerate(sorted({*train.labels, *test.labels}))}
        splits = {
            split: {"text": part.texts, "label": [numbers[label] for label in part.labels]}
            for split, part in (("train", train), ("test", test))
        }
        tables = {**_table(splits["train"], "train"), **_table(splits["test"])}
        yield _task(name, "Classification", AbsTaskClassification, _revision(file), tables)


def _clustering_tasks(spec: MtebSpec, scratch: Path) -> Iterator[Any]:
    for name, file in spec.clustering.items():
        classes = file.read(scratch)
        columns = {"sentences": classes.texts, "labels": classes.labels}
        task = _task(name, "Clustering", AbsTaskClustering, _revision(file), _table(columns))
        task.max_fraction_of_documents_to_embed = None
        task.max_document_to_embed = len(classes.texts)
        yield task


def _reranking_tasks(spec: MtebSpec, scratch: Path) -> Iterator[Any]:
    for name, file in spec.reranking.items():
        data = _reranking(file, scratch)
        yield _task(name, "Reranking", AbsTaskRetrieval, _revision(file), data)


# Tasks and their tables
# -------------------------------------------------------------------------------------------------


def _task(
    name: str,
    type_name: str,
    base: type[Any],
    revision: str,
    data: Any,
    subsets: list[str] | None = None,
) -> Any:
    """Return a task of mteb with its data."""
    from mteb.abstasks.task_metadata import TaskMetadata

    metadata = TaskMetadata(
        name=name,
        description="Local data of a recipe.",
        reference=None,
        dataset={"path": LOCAL, "revision": revision},
        type=type_name,
        category="t2t",
        modalities=["text"],
        eval_splits=["test"],
        eval_langs={name: [LANGUAGE] for name in subsets} if subsets else [LANGUAGE],
        main_score=MAIN_SCORES[type_name],
        date=None,
        domains=None,
        task_subtypes=None,
        license=None,
        annotations_creators=None,
        dialect=None,
        sample_creation=None,
        bibtex_citation="",
    )

    def load_data(self: Any, num_proc: int | None = None, **_: Any) -> None:
        self.dataset = data
        self.data_loaded = True

    made = type(name, (base,), {"metadata": metadata, "load_data": load_data})
    return made()


def _table(columns: Mapping[str, Any], split: str = "test") -> dict[str, Any]:
    from datasets import Dataset as Table

    return {split: Table.from_dict({name: list(values) for name, values in columns.items()})}


def _retrieval(dataset: Dataset, split: str) -> dict[str, Any]:
    """Return a split of the data set; its ids are row numbers, so that ties are broken alike."""
    from datasets import Dataset as Table

    from recipekit.evaluators.metrics import evaluated_queries

    rows = evaluated_queries(dataset, split)
    passages = range(len(dataset.passages))
    width = len(str(len(passages)))
    ids = [f"{row:0{width}}" for row in passages]
    relevant: dict[str, dict[str, int]] = {str(row): {} for row in rows.tolist()}
    labels = dataset.labels
    columns = (labels[name].to_pylist() for name in ("query", "passage", "grade"))
    for query, passage, grade in zip(*columns, strict=True):
        if str(query) in relevant:
            relevant[str(query)][ids[passage]] = int(grade)
    queries = {"id": list(relevant), "text": list(dataset.queries.texts(rows))}
    corpus = {"id": ids, "title": [""] * len(ids), "text": list(dataset.passages.texts(passages))}
    part = {
        "queries": Table.from_dict(queries),
        "corpus": Table.from_dict(corpus),
        "relevant_docs": relevant,
        "top_ranked": None,
    }
    return {"default": {"test": part}}


def _reranking(lists: Any, scratch: Path) -> dict[str, Any]:
    from datasets import Dataset as Table

    data = lists.read(scratch)
    texts = dict.fromkeys(text for passages in data.passages for text in passages)
    ids = {text: f"d{number}" for number, text in enumerate(texts)}
    names = [f"q{number}" for number in range(len(data.queries))]
    parts = list(zip(names, data.passages, data.grades, strict=True))
    part = {
        "queries": Table.from_dict({"id": names, "text": list(data.queries)}),
        "corpus": Table.from_dict(
            {"id": list(ids.values()), "title": [""] * len(ids), "text": list(ids)}
        ),
        "relevant_docs": {
            name: {
                ids[text]: max(0, int(grade)) for text, grade in zip(passages, grades, strict=True)
            }
            for name, passages, grades in parts
        },
        "top_ranked": {name: [ids[text] for text in passages] for name, passages, _ in parts},
    }
    return {"default": {"test": part}}
