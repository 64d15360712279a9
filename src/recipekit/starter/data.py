"""Finds the source that reads a file or folder, and reads a sample of its data."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

from recipekit.component import SourceSpec
from recipekit.data_files.compression import (
    check_regular_file,
    plain_or_compressed,
    without_compression,
)
from recipekit.data_files.delimited import DELIMITERS, Quoting, delimited_rows
from recipekit.data_files.formats import Format, file_format
from recipekit.data_files.json_lines import json_rows
from recipekit.data_files.tables import table_rows
from recipekit.data_files.text_lines import text_lines
from recipekit.errors import DataError
from recipekit.records import Label, Passage, Query
from recipekit.sources.beir import BeirSpec
from recipekit.sources.pair_reader import SPLIT_ALIASES
from recipekit.sources.pairs import PairsSpec
from recipekit.sources.python_code import PythonCodeSpec
from recipekit.starter.columns import ColumnRoles, guess_roles
from recipekit.table_file import DEFAULT_QUOTING

__all__ = [
    "DataSample",
    "FoundSource",
    "SourceName",
    "UnreadableFolderError",
    "data_at",
    "find_source",
    "read_sample",
]

SourceName = Literal["python_code", "pairs", "beir"]
HeldOut = Literal["dev", "test"]

SAMPLE_ROWS: Final = 20_000
SAMPLE_RECORDS: Final = 100_000


class UnreadableFolderError(DataError):
    """No source reads a folder; `tables` has the files in it that could be read alone."""

    def __init__(self, folder: Path, tables: Sequence[Path]) -> None:
        self.tables = tuple(tables)
        super().__init__(
            f"{folder}: is a folder with neither corpus.jsonl (BEIR layout) nor Python files",
            code="RK302",
        )

    def with_message(self, message: str) -> DataError:
        """Return a plain error with the new message, without the list of files."""
        return DataError(message, code=self.code)

    def with_option(self, option: str) -> DataError:
        """Return the error with the option that reads one of the files, if there are any."""
        if not self.tables:
            return self
        return self.with_message(f"{self}; to use one of its files: {option} {self.tables[0]}")


@dataclass(frozen=True)
class FoundSource:
    """The source that reads some data, and its keys in a recipe."""

    use: SourceName
    spec: SourceSpec
    keys: Mapping[str, Any] = field(default_factory=dict)
    """Its keys other than the path."""
    roles: ColumnRoles | None = None
    """The columns of a table of pairs."""
    evaluated: HeldOut | None = None
    """The split with held-out queries that the data names; None if it names none."""
    has_dev: bool = True
    """Whether the data names dev queries, if it names held-out ones."""


@dataclass(frozen=True)
class DataSample:
    """The first records of a source."""

    queries: Sequence[Query]
    """Queries with a positive."""
    passage_words: Sequence[int]
    """The number of words of each passage."""
    complete: bool
    """Whether these are all records."""


def find_source(
    data: Path | None,
    use: SourceName | None = None,
    *,
    query: str | None = None,
    positive: str | None = None,
) -> FoundSource:
    """Return the source that reads a file or folder.

    Args:
        data: The file or folder; None reads the standard library of Python.
        use: The source, if it is known.
        query: The column of queries, if it is known.
        positive: The column of positives, if it is known.

    Raises:
        UnclearColumnsError: The columns of queries and positives cannot be guessed.
        UnreadableFolderError: No source reads the folder.
        DataError: There is no such data, or it cannot be read.
    """
    if data is None:
        return FoundSource("python_code", PythonCodeSpec())
    if not data.exists():
        raise DataError(f"{data}: no such file or folder", code="RK301")
    match use or _guessed_use(data):
        case "pairs":
            return _pairs(data, query, positive)
        case "beir":
            return _beir(data)
        case "python_code":
            return FoundSource("python_code", PythonCodeSpec(folder=data.absolute()))


def data_at(path: Path) -> Path | None:
    """Return the data at a path, if there is any.

    It is a file with a name of data, a folder that a source reads, or the first table in a folder.
    """
    if not path.is_dir():
        return path if _has_table_name(path) else None
    try:
        _guessed_use(path)
    except DataError:
        return next(iter(_tables(path)), None)
    return path


def read_sample(source: FoundSource) -> DataSample:
    """Read the first records of a source.

    Raises:
        DataError: They cannot be read, or no query has a positive.
    """
    from recipekit.testing import context

    queries: dict[str, Query] = {}
    answered: set[str] = set()
    words: list[int] = []
    complete = True
    with tempfile.TemporaryDirectory() as scratch:
        records = source.spec.build(context(Path(scratch))).load()
        for number, record in enumerate(records, 1):
            match record:
                case Query(id=id):
                    queries.setdefault(id, record)
                case Passage(text=text, title=title):
                    words.append(len(title.split()) + len(text.split()))
                case Label(query_id=id, grade=grade) if grade > 0:
                    answered.add(id)
            if number == SAMPLE_RECORDS:
                complete = False
                break
    if complete and not answered & queries.keys():
        raise DataError("no query has a passage that answers it", code="RK306")
    kept = [query for id, query in queries.items() if id in answered]
    return DataSample(kept, words, complete)


def _guessed_use(data: Path) -> SourceName:
    if not data.is_dir():
        return "pairs"
    if plain_or_compressed(data / "corpus.jsonl").exists():
        return "beir"
    if next(iter(PythonCodeSpec(folder=data.absolute()).files()), None):
        return "python_code"
    raise UnreadableFolderError(data, _tables(data))


def _tables(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and _has_table_name(path))


def _has_table_name(path: Path) -> bool:
    try:
        file_format(path)
    except DataError:
        return False
    return True


# A file of pairs
# --------------------------------------------------------------------------------------------------


def _pairs(file: Path, query: str | None, positive: str | None) -> FoundSource:
    check_regular_file(file)
    format = _format(file)
    keys: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        if format == "jsonl":
            rows = _sample(json_rows(file))
        elif format == "parquet" or format == "arrow":
            rows = _sample(table_rows(file, format, Path(scratch)))
        else:
            rows, keys = _delimited(file, format)
    if not rows:
        raise DataError(f"{file}: no rows", code="RK306")
    complete = len(rows) < SAMPLE_ROWS
    roles = guess_roles(str(file), rows, complete=complete, query=query, positive=positive)
    spec = PairsSpec(file=file.absolute(), **keys, **roles.keys())
    if not roles.split_column:
        return FoundSource("pairs", spec, keys, roles)
    written = {str(row.get(roles.split_column)).strip().lower() for row in rows}
    names = {SPLIT_ALIASES.get(name) for name in written}
    evaluated: HeldOut = "test" if "test" in names else "dev"
    return FoundSource("pairs", spec, keys, roles, evaluated, has_dev="dev" in names)


def _format(file: Path) -> Format:
    try:
        return file_format(file)
    except DataError as error:
        raise DataError(
            f"{file}: not a table that recipekit reads: expected .csv, .tsv, .jsonl, .json, "
            ".parquet or .arrow, also compressed",
            code="RK304",
        ) from error


def _sample(rows: Iterator[tuple[Any, Mapping[str, Any]]]) -> list[Mapping[str, Any]]:
    return [row for _, row in islice(rows, SAMPLE_ROWS)]


def _delimited(
    file: Path, format: Literal["csv", "tsv"]
) -> tuple[list[Mapping[str, Any]], dict[str, Any]]:
    """The first rows of a CSV or TSV file, and the keys that are needed to read it.

    Raises:
        DataError: It cannot be read in any way; the error is that of the usual way.
    """
    usual = "\t" if format == "tsv" else ","
    delimiter = _delimiter(file, usual)
    keys: dict[str, Any] = {} if delimiter == usual else {"delimiter": delimiter}
    quoting = DEFAULT_QUOTING[format]
    try:
        return _sample(delimited_rows(file, delimiter, quoting=quoting)), keys
    except DataError as error:
        other: Quoting = "none" if quoting == "minimal" else "minimal"
        try:
            rows = _sample(delimited_rows(file, delimiter, quoting=other))
        except DataError:
            raise error from None
        return rows, {**keys, "quoting": other}


def _delimiter(file: Path, usual: str) -> str:
    """The character between the fields of the header: the usual one, unless it has none."""
    _, header = next(text_lines(file), (0, ""))
    if usual in header:
        return usual
    return next((character for character in DELIMITERS if character in header), usual)


# A folder in BEIR layout
# --------------------------------------------------------------------------------------------------


def _beir(folder: Path) -> FoundSource:
    splits = _beir_splits(folder) if folder.is_dir() else None
    keys = {"splits": splits} if splits else {}
    spec = BeirSpec(folder=folder.absolute(), **keys)
    names = set(splits or _standard_qrels(folder))
    evaluated: HeldOut | None = None
    if "all" not in names:
        evaluated = "test" if "test" in names else "dev"
    return FoundSource("beir", spec, keys, evaluated=evaluated, has_dev="dev" in names)


def _standard_qrels(folder: Path) -> list[str]:
    names = ("train", "dev", "test")
    return [
        name for name in names if plain_or_compressed(folder / "qrels" / f"{name}.tsv").exists()
    ]


def _beir_splits(folder: Path) -> dict[str, str] | None:
    """The files of the splits, if some queries are for training and others for evaluation.

    None leaves the usual names.
    """
    standard = _standard_qrels(folder)
    match standard:
        case ["train", _, *_]:
            return None
        case ["dev", "test"]:
            return {"train": "dev.tsv", "test": "test.tsv"}
        case [only]:
            return {"all": f"{only}.tsv"}
    files = sorted({without_compression(path).name for path in (folder / "qrels").glob("*.tsv*")})
    return {"all": files[0]} if len(files) == 1 else None
