"""Data sets of the Hugging Face hub, or folders in any form that the `datasets` library reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from recipekit.component import Context, LocalPath, NotIdentity, SourceSpec
from recipekit.errors import ComponentError, DataError
from recipekit.sources.beir import BeirReader, BeirSpec, QrelsOf
from recipekit.sources.columns import Columns, PairReader
from recipekit.sources.hub_tables import HubTable, resolved_revision
from recipekit.sources.locations import LocatedSource, Record, RecordLocation

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
    """Branch, tag or commit; by default the one in the local Hugging Face cache, otherwise the newest.
    A commit pins the data."""
    layout: Literal["pairs", "beir"] = "pairs"
    """Rows with named columns, or corpus, queries and qrels."""
    splits: dict[QrelsOf, str] | None = Field(default=None, min_length=1)
    """The data set's split for each split: `{train: train, dev: validation}`. Queries under `all` are
    divided by `collect.split`. By default `{all: train}` for `pairs`, and every split of the qrels
    for `beir`."""
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
            raise ValueError("name a data set of the hub (`dataset`) or a local one (`folder`)")
        if self.layout == "pairs":
            self._check_pairs()
            return self
        roles = (Columns.model_fields.keys() - {"min_positive_grade"}) | {"sample_size"}
        # By value: a default that is written out means what it means unwritten.
        if wrong := sorted(
            role for role in roles if getattr(self, role) != type(self).model_fields[role].default
        ):
            raise ValueError(f"{wrong[0]} belongs to the layout pairs, not to beir")
        return self

    def _check_pairs(self) -> None:
        self.check_roles()
        if self.qrels_dataset is not None:
            raise ValueError("qrels_dataset belongs to the layout beir")
        if self.split_column and self.splits and set(self.splits) != {"all"}:
            raise ValueError(
                "split_column contradicts splits: read the rows under `all`, or leave one of them out"
            )

    def files(self) -> Mapping[str, Path]:
        """The local folder, if there is one."""
        return {"folder": self.folder} if self.folder else {}

    def fingerprint(self) -> Any:
        """The commits of what is read from the hub."""
        if self.folder or self.dataset is None:
            return None
        found = {"dataset": resolved_revision(self.dataset, self.revision)}
        return found | (
            {"qrels": resolved_revision(self.qrels_dataset, None)} if self.qrels_dataset else {}
        )

    def build(self, context: Context) -> LocatedSource:
        """Make the source."""
        counts: dict[str, int] = {}
        if self.layout == "beir":
            return LocatedSource(partial(self._beir, context, counts), counts)
        return LocatedSource(partial(self._pairs, context, counts), counts)

    def _table(self, context: Context) -> HubTable:
        if self.folder is None:
            assert self.dataset is not None
            return self._on_hub(self.dataset, self.revision)
        if not self.folder.is_dir():
            what, code = (
                ("is a file; expected a folder", "RK302")
                if self.folder.exists()
                else ("no such folder", "RK301")
            )
            raise DataError(f"{self.folder}: {what}", code=code)
        return HubTable(
            str(self.folder),
            self.config_name,
            None,
            self.streaming,
            context.scratch / "datasets",
            local=True,
        )

    def _on_hub(self, dataset: str, revision: str | None) -> HubTable:
        try:
            return HubTable(
                dataset, self.config_name, resolved_revision(dataset, revision), self.streaming
            )
        except ComponentError as error:
            raise DataError(error.message, code="RK310") from error

    # Pairs
    # -----------------------------------------------------------------------------------------------------------

    def _pairs(
        self, context: Context, counts: dict[str, int]
    ) -> Iterator[tuple[RecordLocation, Record]]:
        table, splits = self._table(context), self.splits or {"all": "train"}
        reader = PairReader(self, counts, several_splits=len(splits) > 1)
        for split, name in splits.items():
            self.check_there(table.columns(name), f"{table.title} [{name}]")
            reader.split = None if split == "all" else split
            yield from reader.read(
                table.rows(name, list(self.columns), self.sample_size, context.seed)
            )
        reader.end(table.title, context.progress)

    # BEIR
    # ------------------------------------------------------------------------------------------------------------

    def _beir(
        self, context: Context, counts: dict[str, int]
    ) -> Iterator[tuple[RecordLocation, Record]]:
        table = self._table(context)
        if self.folder and any(self.folder.glob("corpus.jsonl*")):
            # The layout that BEIR itself ships; `splits` then names files.
            names = (
                {
                    split: name if ".tsv" in name else f"{name}.tsv"
                    for split, name in self.splits.items()
                }
                if self.splits
                else None
            )
            source = BeirSpec(
                folder=self.folder, splits=names, min_positive_grade=self.min_positive_grade
            ).build(context)
            yield from source.located()
            counts.update(source.counts)
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

    def _part(self, table: HubTable, name: str) -> HubTable:
        """A configuration of the data set; of a local one the folder of that name, where there is
        one.
        """
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
        there = table.splits()
        found: dict[QrelsOf, str] = {
            split: name for split, names in HUB_SPLITS.items() for name in names if name in there
        }
        if not found:
            raise DataError(
                f"{table.title}: no split train, dev, validation or test; there are: {', '.join(there)}",
                code="RK311",
            )
        return found
