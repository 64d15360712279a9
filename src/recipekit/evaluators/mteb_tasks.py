"""mteb's tasks: by name, checked before a run, and made of local data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipekit.artifacts.key import FileHashes, fields_identity, key_of
from recipekit.suggestions import did_you_mean

if TYPE_CHECKING:
    from recipekit.dataset import Dataset
    from recipekit.evaluators.evaluation_file import EvaluationFile
    from recipekit.evaluators.mteb import MtebSpec

__all__ = ["check_names", "local_tasks", "named_tasks", "revisions"]

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


# Tasks by name
# -------------------------------------------------------------------------------------------------


def check_names(spec: MtebSpec) -> None:
    """Check that mteb knows the tasks and the benchmark. It does not import torch.

    Raises:
        ValueError: A name is unknown, or no task has the languages and types.
    """
    import mteb

    if spec.benchmark is not None:
        known = [benchmark.name for benchmark in mteb.get_benchmarks()]
        if spec.benchmark not in known:
            raise ValueError(
                f"benchmark: mteb has no benchmark '{spec.benchmark}'."
                f"{did_you_mean(spec.benchmark, known)}"
            )
    for name in spec.tasks:
        try:
            mteb.get_task(name)
        except KeyError:
            known = [task.metadata.name for task in mteb.get_tasks(exclude_superseded=False)]
            raise ValueError(
                f"tasks: mteb has no task '{name}'.{did_you_mean(name, known)}"
            ) from None
    if not named_tasks(spec):
        raise ValueError("no task has these languages and task_types")


def named_tasks(spec: MtebSpec) -> list[Any]:
    """Return the tasks that the recipe names, each once."""
    import mteb

    languages = None if spec.languages is None else list(spec.languages)
    names = list(spec.tasks)
    if spec.benchmark is not None:
        names += [task.metadata.name for task in mteb.get_benchmark(spec.benchmark).tasks]
    found = [mteb.get_task(name, languages=languages) for name in dict.fromkeys(names)]
    types = spec.task_types
    return [
        task for task in found if task.hf_subsets and (types is None or task.metadata.type in types)
    ]


def revisions(spec: MtebSpec) -> dict[str, Any]:
    """Return the revision of each named task, and mteb's version."""
    return {
        "mteb": version("mteb"),
        "tasks": {
            task.metadata.name: str(task.metadata.dataset.get("revision"))
            for task in named_tasks(spec)
        },
    }


# Local tasks
# -------------------------------------------------------------------------------------------------


def local_tasks(spec: MtebSpec, dataset: Callable[[], Dataset], scratch: Path) -> list[Any]:
    """Return the local data as tasks of mteb, whose revision is the content of the data."""
    from mteb.abstasks.classification import AbsTaskClassification
    from mteb.abstasks.clustering import AbsTaskClustering
    from mteb.abstasks.pair_classification import AbsTaskPairClassification
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.sts import AbsTaskSTS
    from mteb.abstasks.text.bitext_mining import AbsTaskBitextMining

    hashes = FileHashes()

    def revision(file: EvaluationFile) -> str:
        return key_of([fields_identity(file), hashes.of(file.file)])

    tasks = [
        _task(
            name,
            "Retrieval",
            AbsTaskRetrieval,
            key_of([dataset().key, own.split]),
            _retrieval(dataset(), own.split),
        )
        for name, own in spec.retrieval.items()
    ]
    for name, scored in spec.sts.items():
        data = scored.read(scratch)
        columns = {"sentence1": data.first, "sentence2": data.second, "score": data.scores}
        tasks.append(_task(name, "STS", AbsTaskSTS, revision(scored), _table(columns)))
    for name, labelled in spec.pair_classification.items():
        pairs = labelled.read(scratch)
        labels = [int(label) for label in pairs.labels]
        columns = {"sentence1": pairs.first, "sentence2": pairs.second, "labels": labels}
        tasks.append(
            _task(
                name,
                "PairClassification",
                AbsTaskPairClassification,
                revision(labelled),
                _table(columns),
            )
        )
    for name, parallel in spec.bitext_mining.items():
        sentences = parallel.read(scratch).sentences
        subsets = {
            f"{a}-{b}": _table({"sentence1": sentences[a], "sentence2": sentences[b]})
            for a, b in combinations(sentences, 2)
        }
        tasks.append(
            _task(
                name,
                "BitextMining",
                AbsTaskBitextMining,
                revision(parallel),
                subsets,
                subsets=list(subsets),
            )
        )
    for name, texts in spec.classification.items():
        train = texts.model_copy(update={"where": dict(texts.train_where)}).read(scratch)
        test = texts.read(scratch)
        numbers = {label: n for n, label in enumerate(sorted({*train.labels, *test.labels}))}
        splits = {
            split: {"text": part.texts, "label": [numbers[label] for label in part.labels]}
            for split, part in (("train", train), ("test", test))
        }
        dataset_splits = {**_table(splits["train"], "train"), **_table(splits["test"])}
        tasks.append(
            _task(name, "Classification", AbsTaskClassification, revision(texts), dataset_splits)
        )
    for name, groups in spec.clustering.items():
        classes = groups.read(scratch)
        columns = {"sentences": classes.texts, "labels": classes.labels}
        task = _task(name, "Clustering", AbsTaskClustering, revision(groups), _table(columns))
        task.max_fraction_of_documents_to_embed = None
        task.max_document_to_embed = len(classes.texts)
        tasks.append(task)
    for name, lists in spec.reranking.items():
        tasks.append(
            _task(name, "Reranking", AbsTaskRetrieval, revision(lists), _reranking(lists, scratch))
        )
    return tasks


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
        dataset={"path": "local/data", "revision": revision},
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

    from recipekit.evaluators.metrics import with_positives

    rows = with_positives(dataset.rows(split), dataset.labels)
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
