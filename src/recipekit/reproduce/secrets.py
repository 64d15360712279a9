"""A last look for credentials of this machine in files that are about to be shared.

Files are read as they are, and in addition decompressed: compressed files, the members of zip
archives, and the texts in Parquet and Arrow files, whose pages can be compressed.
"""

from __future__ import annotations

import html
import io
import json
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from recipekit.data_files.compression import BROKEN, is_compressed, open_bytes
from recipekit.errors import StoreError
from recipekit.recipe.environment import names
from recipekit.report.markdown import escape

__all__ = ["check_no_secrets"]

SECRET: Final = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|COOKIE)$")
SHORTEST: Final = 8
"""Characters; shorter values occur by chance."""
PART: Final = 2**20
"""Bytes that are read at once."""


def check_no_secrets(folder: Path, recipe: str) -> None:
    """Check that no file contains a value of the environment that is or may be secret.

    These are the variables that the recipe names, those that are called like a credential, and the
    saved token of the Hugging Face Hub.

    Args:
        folder: The files.
        recipe: The recipe's text.

    Raises:
        StoreError: A file contains such a value.
    """
    values = dict(_values(recipe, os.environ))
    if token := _hub_token():
        values.setdefault("HF_TOKEN", token)
    forms = {name: _forms(value) for name, value in values.items()}
    if not forms:
        return
    for file in sorted(each for each in folder.rglob("*") if each.is_file()):
        if name := _found(_contents(file), forms):
            raise StoreError(
                f"{file.relative_to(folder)}: contains the value of the variable {name}; a "
                "baseline must not contain it, so nothing was written",
                code="RK536",
            )


def _forms(value: str) -> set[bytes]:
    """Return how a text looks in a plain file, in JSON, in HTML and in Markdown."""
    in_json = {json.dumps(value, ensure_ascii=ascii)[1:-1] for ascii in (True, False)}
    return {text.encode() for text in (value, html.escape(value), escape(value), *in_json)}


def _found(contents: Iterable[IO[bytes]], forms: Mapping[str, set[bytes]]) -> str | None:
    """Return the first variable whose value is in one of some contents."""
    longest = max(len(form) for known in forms.values() for form in known)
    for content in contents:
        end = b""
        # A damaged part of a file is searched up to the damage.
        with content, suppress(*BROKEN, OSError):
            while part := content.read(PART):
                text = end + part
                for name, known in forms.items():
                    if any(form in text for form in known):
                        return name
                end = text[1 - longest :]
    return None


def _contents(file: Path) -> Iterator[IO[bytes]]:
    """Yield a file as it is, and what is compressed in it."""
    yield file.open("rb")
    if is_compressed(file):
        yield from _decompressed(file)
    elif zipfile.is_zipfile(file):
        # RuntimeError: a member is encrypted, or compressed in an unknown way.
        with suppress(zipfile.BadZipFile, RuntimeError), zipfile.ZipFile(file) as archive:
            yield from (archive.open(name) for name in archive.namelist())
    else:
        yield from _table(file)


def _decompressed(file: Path) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryDirectory(prefix="recipekit-scan-") as folder:
        inside = Path(folder, "content")
        with open_bytes(file) as source, inside.open("wb") as target, suppress(*BROKEN, OSError):
            shutil.copyfileobj(source, target)
        yield from _contents(inside)


def _table(file: Path) -> Iterator[IO[bytes]]:
    """Yield the texts of a Parquet or Arrow file, batch by batch; nothing for another file."""
    with file.open("rb") as opened:
        start = opened.read(6)
    with suppress(pa.ArrowException, OSError):
        if start.startswith(b"PAR1"):
            with pq.ParquetFile(file) as table:
                yield from (_texts(batch) for batch in table.iter_batches(1024))
        elif start == b"ARROW1":
            with pa.OSFile(str(file)) as source, pa.ipc.open_file(source) as table:
                numbers = range(table.num_record_batches)
                yield from (_texts(table.get_batch(number)) for number in numbers)


def _texts(batch: pa.RecordBatch) -> IO[bytes]:
    return io.BytesIO("\n".join(_leaves(batch.to_pylist())).encode("utf-8", "surrogatepass"))


def _leaves(value: Any) -> Iterator[str]:
    """Yield every text in a value of a table."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        yield value.decode("utf-8", "replace")
    elif isinstance(value, Mapping):
        yield from _leaves(list(value.values()))
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)


def _values(recipe: str, environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    named = set(names(recipe))
    for name, value in environment.items():
        if len(value) >= SHORTEST and (name in named or SECRET.search(name.upper())):
            yield name, value


def _hub_token() -> str | None:
    from huggingface_hub import get_token

    token: str | None = get_token()
    return token
