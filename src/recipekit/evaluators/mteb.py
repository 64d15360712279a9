"""The `mteb` evaluator: tasks of the Massive Text Embedding Benchmark, and local data as tasks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from recipekit.component import Context, EvaluatorSpec, Name
from recipekit.evaluators.evaluation_file import EvaluationFile
from recipekit.evaluators.pair_files import LabelledPairsFile, ScoredPairsFile
from recipekit.evaluators.ranked_lists_file import RankedListsFile
from recipekit.evaluators.resampling import Resampling
from recipekit.evaluators.sentence_files import ClassesFile, ParallelSentencesFile

if TYPE_CHECKING:
    from recipekit.dataset import Dataset
    from recipekit.evaluators.mteb_evaluator import MtebEvaluator

__all__ = ["DatasetSplit", "LabelledTexts", "MtebSpec"]

SplitName = Literal["train", "dev", "test"]


class DatasetSplit(BaseModel):
    """A split of the recipe's own data set."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, defer_build=True)

    split: SplitName = "test"
    """The split whose queries are searched; those without a source positive are left out."""


class LabelledTexts(ClassesFile):
    """Texts with classes: those to learn from, and those to classify."""

    train_where: dict[str, str | int] = Field(default={"split": "train"})
    """Which rows a logistic regression learns from, by column; `where` selects those it classifies.
    """

    def training_rows(self) -> ClassesFile:
        """Return the file with the rows to learn from."""
        return self.model_copy(update={"where": dict(self.train_where)})


class MtebSpec(Resampling, EvaluatorSpec):
    """Tasks of MTEB 2 by name, and data of your own as MTEB tasks.

    Tasks of the Hub are downloaded by mteb, at the revision that mteb pins. Documents are embedded
    as passages, all other texts as queries, with the encoder's prompts and those of `prompts`. Each
    task has its main score; the mean over tasks comes first. Scores of retrieval and reranking have
    intervals and tested differences. mteb has no per-item values for other types of tasks, so these
    are not tested. mteb's result files with all scores are kept in the evaluator's folder. A result
    is computed once for the same weights, prompts and task revision. Systems without an encoder are
    left out.
    """

    version: ClassVar[int] = 3
    reads_texts: ClassVar[bool] = True

    tasks: tuple[str, ...] = ()
    """Tasks by mteb's names: `[NFCorpus, STSBenchmark]`."""
    benchmark: str | None = None
    """A benchmark by mteb's name, such as `MTEB(eng, v2)`, with its languages and splits. Its tasks
    are added to `tasks`."""
    languages: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Languages by ISO 639-3 code, as in `[eng, deu]`; by default all languages of a task. Without
    `tasks` and `benchmark`, all of mteb's text tasks in these languages are run."""
    task_types: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Keep only tasks of these types, such as `[Retrieval, STS]`. Without `tasks` and `benchmark`,
    all of mteb's text tasks of these types are run."""
    prompts: dict[str, str] = Field(default={})
    """Prompts by task or type of task, for queries and documents alike, or with `-query` or
    `-document` for one of them: `{STS: "Instruct: …", NFCorpus-query: "…"}`. Other texts get the
    prompt that the model's files have for their task or its type; queries, documents, and texts
    without such a prompt get the encoder's own."""
    source: Name | None = None
    """The data set of `evaluate.sources` that `retrieval` measures; by default the recipe's own."""
    retrieval: dict[Name, DatasetSplit] = Field(default={})
    """Splits of the data set as retrieval tasks, by a name of your own."""
    sts: dict[Name, ScoredPairsFile] = Field(default={})
    """Files of scored pairs as STS tasks."""
    pair_classification: dict[Name, LabelledPairsFile] = Field(default={})
    """Files of labelled pairs as pair classification tasks."""
    bitext_mining: dict[Name, ParallelSentencesFile] = Field(default={})
    """Files of parallel sentences as bitext mining tasks."""
    classification: dict[Name, LabelledTexts] = Field(default={})
    """Files of texts with classes as classification tasks."""
    clustering: dict[Name, ClassesFile] = Field(default={})
    """Files of texts with classes as clustering tasks."""
    reranking: dict[Name, RankedListsFile] = Field(default={})
    """Files of ranked lists as reranking tasks."""

    bootstrap_samples: Annotated[int, Field(ge=100, le=1_000_000)] = 10_000
    """Bootstrap samples of the queries for intervals and p-values of retrieval and reranking."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        names = [name for group in self.local().values() for name in group]
        every = [*names, *set(self.tasks)]
        repeated = next((name for name in names if every.count(name) > 1), None)
        if repeated is not None:
            raise ValueError(f"two tasks are called '{repeated}'")
        if self.source is not None and not self.retrieval:
            raise ValueError("source: only retrieval reads it; add retrieval, or remove source")
        if self.names_tasks or self.prompts:
            from recipekit.evaluators.mteb_names import check_names

            check_names(self)
        if not self.names_tasks and not names:
            raise ValueError("name tasks, a benchmark, languages, or data of your own, such as sts")
        return self

    @property
    def names_tasks(self) -> bool:
        """Whether it runs tasks of mteb's own, in addition to local data."""
        return bool(self.tasks or self.benchmark or self.languages or self.task_types)

    @property
    def data_name(self) -> str | None:
        """The data set that `retrieval` measures."""
        return self.source

    def local(self) -> dict[str, Mapping[str, Any]]:
        """Return the local tasks, by type and name."""
        return {
            "retrieval": self.retrieval,
            "sts": self.sts,
            "pair_classification": self.pair_classification,
            "bitext_mining": self.bitext_mining,
            "classification": self.classification,
            "clustering": self.clustering,
            "reranking": self.reranking,
        }

    def local_files(self) -> dict[str, EvaluationFile]:
        """Return the local tasks that have a file, by name."""
        groups = self.local().values()
        return {
            name: task
            for group in groups
            for name, task in group.items()
            if isinstance(task, EvaluationFile)
        }

    def files(self) -> Mapping[str, Path]:
        """Return the files of local tasks."""
        return {
            label: path
            for name, task in self.local_files().items()
            for label, path in task.named_file(name).items()
        }

    def distributions(self) -> tuple[str, ...]:
        """Return what mteb computes its scores with."""
        return ("scikit-learn", "scipy")

    def fingerprint(self) -> Any:
        """Return the revision of each named task, as mteb pins it, and mteb's version.

        Raises:
            ComponentError: No task is selected.
        """
        if not self.names_tasks:
            return None
        from recipekit.evaluators.mteb_tasks import revisions

        return revisions(self)

    def reach(self) -> None:
        """Check that mteb knows the named tasks and can get their data, before any work is done.

        Raises:
            ComponentError: No task is selected.
            RunError: The data of a task is not cached, and the Hub cannot be reached.
        """
        if self.names_tasks:
            from recipekit.evaluators.mteb_hub import check_reachable
            from recipekit.evaluators.mteb_tasks import named_tasks

            check_reachable(named_tasks(self))

    def check(self, dataset: Dataset) -> None:
        """Read the files of local tasks, and check that retrieval has queries.

        Raises:
            DataError: A file cannot be read, a row is wrong, or a split has no query with a
                positive.
        """
        if self.source is None and self.retrieval:
            from recipekit.evaluators.metrics import evaluated_queries

            for own in self.retrieval.values():
                evaluated_queries(dataset, own.split)
        with TemporaryDirectory() as scratch:
            for task in self.local_files().values():
                task.read(Path(scratch))
                if isinstance(task, LabelledTexts):
                    task.training_rows().read(Path(scratch))

    def build(self, context: Context) -> MtebEvaluator:
        """Make the evaluator."""
        from recipekit.evaluators.mteb_evaluator import MtebEvaluator

        return MtebEvaluator(self, context)
