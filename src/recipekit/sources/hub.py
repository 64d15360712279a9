"""Data sets on the Hugging Face Hub, or local folders that the `datasets` library reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from recipekit.component import Context, LocalPath, NotIdentity, SourceSpec
from recipekit.data_files.formats import check_folder
from recipekit.errors import ComponentError, DataError
from recipekit.sources.beir import BeirReader, BeirSpec, QrelsOf
from recipekit.sources.columns import Columns
from recipekit.sources.hub_tables import HubTable, resolved_revision
from recipekit.sources.locations import LocatedRecords, LocatedSource
from recipekit.sources.pair_reader import PairReader

__all__ = ["HubSpec"]

HUB_SPLITS: Mapping[QrelsOf, tuple[str, ...]] = {
    "train": ("train",),
    "dev": ("dev", "validation"),
    "test": ("test",),
}


class HubSpec(Columns, SourceSpec):
    """A data set on the Hugging Face Hub, or a local folder in a format of the `datasets` library.

    `layout: pairs` reads rows with a query and its answer. `layout: beir` reads the configurations
    `corpus` and `queries` and their qrels, as mteb and BeIR publish retrieval data sets. Local
    folders hold Parquet, JSON or CSV files, or were written by `save_to_disk`. Code of a data set
    is never run.
    """

    dataset: str | None = Field(default=None, pattern=r"^[\w.-]+(/[\w.-]+)?$")
    """The id on the Hub, such as `mteb/nfcorpus`."""
    folder: Annotated[LocalPath | None, NotIdentity] = None
    """A local folder to read instead; nothing is downloaded."""
    config_name: str | None = None
    """The configuration. With `layout: beir`, that of the qrels, by default `default`."""
    revision: str | None = None
    """Branch, tag or commit; by default the one in the local Hugging Face cache, otherwise the
    newest. A commit pins the data."""
    layout: Literal["pairs", "beir"] = "pairs"
    """Rows with named columns, or corpus, queries and qrels."""
    splits: dict[QrelsOf, str] | None = Field(default=None, min_length=1)
    """The data set's split for each split: `{train: train, dev: validation}`. Queries under `all`
    are divided by `collect.split`. By default `{all: train}` for `pairs`, and every split of the
    qrels for `beir`."""
    streaming: bool = False
    """Read over the network without storing anything, for data sets larger than the disk."""
    sample_size: int | None = Field(default=None, ge=1)
    """How many rows to draw from each split, seeded; null takes all. Only for pairs."""
    qrels_dataset: str | None = None
    """The id of the qrels, if they are a data set of their own (`BeIR/nfcorpus-qrels`). Only for
    `beir`."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.dataset is None and self.folder is None:
            raise ValueError("name a data set on the Hub (`dataset`) or a local one (`folder`)")
        if self.layout == "pairs":
            self._check_pairs()
        else:
            self._check_beir()
        return self

    def _check_pairs(self) -> None:
        self.check_roles()
        if self.qrels_dataset is not None:
            raise ValueError("qrels_dataset belongs to the layout beir")
        if self.split_column and self.splits and set(self.splits) != {"all"}:
            raise ValueError(
                "split_column contradicts splits: read the rows under `all`, or omit one of the "
                "two keys"
            )

    def _check_beir(self) -> None:
        # Compared by value, because a default that is written out means the same as no value.
        keys = (Columns.model_fields.keys() - {"min_positive_grade"}) | {"sample_size"}
        fields = type(self).model_fields
        unused = sorted(key for key in keys if getattr(self, key) != fields[key].default)
        if unused:
            raise ValueError(f"{unused[0]} belongs to the layout pairs, not to beir")

    def files(self) -> Mapping[str, Path]:
        """Return the local folder, if there is one."""
        return {"folder": self.folder} if self.folder else {}

    def fingerprint(self) -> Any:
        """Return the commits of the data sets on the Hub."""
        if self.folder or self.dataset is None:
            return None
        commits = {"dataset": resolved_revision(self.dataset, self.revision)}
        if self.qrels_dataset:
            commits["qrels"] = resolved_revision(self.qrels_dataset, None)
        return commits

    def build(self, context: Context) -> LocatedSource:
        """Return the source."""
        counts: dict[str, int] = {}
        read = self._beir if self.layout == "beir" else self._pairs
        return LocatedSource(partial(read, context, counts), counts)

    def _table(self, context: Context) -> HubTable:
        if self.folder is None:
            assert self.dataset is not None
            return self._on_hub(self.dataset, self.revision)
        check_folder(self.folder)
        return HubTable(
            str(self.folder),
            self.config_name,
            streaming=self.streaming,
            cache=context.scratch / "datasets",
            local=True,
        )

    def _on_hub(self, dataset: str, revision: str | None) -> HubTable:
        try:
            commit = resolved_revision(dataset, revision)
        except ComponentError as error:
            raise DataError(error.message, code="RK310") from error
        return HubTable(dataset, self.config_name, commit, self.streaming)

    # Pairs
    # -----

    def _pairs(self, context: Context, counts: dict[str, int]) -> LocatedRecords:
        table, splits = self._table(context), self.splits or {"all": "train"}
        reader = PairReader(self, counts, several_splits=len(splits) > 1)
        for split, name in splits.items():
            self.check_columns(table.columns(name), f"{table.title} [{name}]")
            reader.split = None if split == "all" else split
            rows = table.rows(name, list(self.columns), self.sample_size, context.seed)
            yield from reader.read(rows)
        reader.finish(table.title, context.progress)

    # BEIR
    # ----

    def _beir(self, context: Context, counts: dict[str, int]) -> LocatedRecords:
        table = self._table(context)
        if self.folder and any(self.folder.glob("corpus.jsonl*")):
            yield from self._beir_folder(self.folder, context, counts)
            return
        corpus, queries = self._part(table, "corpus"), self._part(table, "queries")
        qrels = self._qrels_table(table)
        reader = BeirReader(
            corpus=partial(corpus.rows, self._only_split(corpus, "corpus")),
            queries=partial(queries.rows, self._only_split(queries, "queries")),
            qrels={
                split: partial(qrels.rows, name)
                for split, name in self._qrels_splits(qrels).items()
            },
            name=table.dataset,
            min_positive_grade=self.min_positive_grade,
            counts=counts,
        )
        yield from reader.located(context.progress)

    def _beir_folder(
        self, folder: Path, context: Context, counts: dict[str, int]
    ) -> LocatedRecords:
        """Read a folder in the layout of BEIR's own archives, where `splits` names files."""
        files = None
        if self.splits:
            files = {
                split: name if ".tsv" in name else f"{name}.tsv"
                for split, name in self.splits.items()
            }
        spec = BeirSpec(folder=folder, splits=files, min_positive_grade=self.min_positive_grade)
        source = spec.build(context)
        yield from source.located()
        counts.update(source.counts)

    def _part(self, table: HubTable, name: str) -> HubTable:
        """Return a configuration, or the subfolder of that name in a local data set."""
        if self.folder and (self.folder / name).is_dir():
            cache = table.cache / name if table.cache else None
            return replace(table, dataset=str(self.folder / name), config_name=None, cache=cache)
        return replace(table, config_name=name)

    def _qrels_table(self, table: HubTable) -> HubTable:
        if self.folder is None and self.qrels_dataset is not None:
            return self._on_hub(self.qrels_dataset, None)
        names = [self.config_name] if self.config_name else ["default", "qrels"]
        local = [name for name in names if self.folder and (self.folder / name).is_dir()]
        return self._part(table, (local or names)[0])

    def _only_split(self, table: HubTable, name: str) -> str:
        splits = table.splits()
        return name if name in splits else splits[0]

    def _qrels_splits(self, table: HubTable) -> dict[QrelsOf, str]:
        if self.splits:
            return dict(self.splits)
        existing = table.splits()
        found: dict[QrelsOf, str] = {
            split: name for split, names in HUB_SPLITS.items() for name in names if name in existing
        }
        if not found:
            raise DataError(
                f"{table.title}: no split train, dev, validation or test; found "
                f"{', '.join(existing)}",
                code="RK311",
            )
        return found
