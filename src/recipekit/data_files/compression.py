"""Opening data files for reading bytes, decompressed as their first bytes show."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, cast

from recipekit.errors import DataError

__all__ = [
    "BROKEN",
    "COMPRESSED_SUFFIXES",
    "check_regular_file",
    "is_compressed",
    "open_bytes",
    "plain_or_compressed",
    "read_errors",
    "without_compression",
]

COMPRESSED_SUFFIXES: Final = (".gz", ".bz2", ".xz", ".zst")


def _open_zstd(path: Path) -> IO[bytes]:
    import io

    import pyarrow as pa

    return cast(IO[bytes], io.BufferedReader(pa.input_stream(str(path), compression="zstd")))


OPENERS: Final[dict[bytes, Callable[[Path], Any]]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
    b"\x28\xb5\x2f\xfd": _open_zstd,
}
"""How to read a compressed file, by its first bytes. They count, not the name: downloads are often
decompressed on the way and keep the name."""

OTHER_KINDS: Final = {
    b"PK\x03\x04": "a zip archive or an Excel workbook: extract the file in it, or save the sheet "
    "as CSV",
    b"\xd0\xcf\x11\xe0": "an Excel workbook: save the sheet as CSV",
    b"SQLite format 3\x00": "an SQLite database: export the table as CSV",
    b"%PDF": "a PDF document",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive: extract the file in it",
    b"PAR1": "a Parquet file: rename it to end in .parquet, or set its `format` to parquet",
    b"ARROW1": "an Arrow file: rename it to end in .arrow, or set its `format` to arrow",
    b"version https://git-lfs": "a pointer of Git LFS: run `git lfs pull` to download the file",
    b"<!doctype html": "an HTML page, as a failed download leaves it: download the file again",
    b"<html": "an HTML page, as a failed download leaves it: download the file again",
}
"""What else users name as data, by its first bytes in either case, and what to do."""
START_BYTES: Final = 32
"""Bytes that show the kind of a file."""

BROKEN: Final = (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError)
"""What reading a damaged compressed file raises, apart from `OSError`."""


def without_compression(path: Path) -> Path:
    """Return the path without a suffix such as `.gz`, in upper or lower case."""
    return path.with_suffix("") if path.suffix.lower() in COMPRESSED_SUFFIXES else path


def plain_or_compressed(path: Path) -> Path:
    """Return the path itself, or a compressed file next to it if only that one exists."""
    if path.exists() or not path.parent.is_dir():
        return path
    found = [
        other
        for other in sorted(path.parent.glob(f"{path.name}.*"))
        if other.suffix.lower() in COMPRESSED_SUFFIXES
    ]
    return found[0] if found else path


def check_regular_file(path: Path) -> None:
    """Check that a path is a regular file.

    Reading a pipe would wait for its writer, and could not be repeated.

    Raises:
        DataError: It does not exist, or it is a folder, a pipe, a socket or a device.
    """
    if path.is_file():
        return
    if path.is_dir():
        raise DataError(f"{path}: is a folder; expected a file", code="RK302")
    kinds = {
        "a named pipe": path.is_fifo(),
        "a socket": path.is_socket(),
        "a device": path.is_char_device() or path.is_block_device(),
    }
    for kind, found in kinds.items():
        if found:
            raise DataError(
                f"{path}: is {kind}; expected a regular file, which can be read again", code="RK302"
            )
    raise DataError(f"{path}: no such file or folder", code="RK301")


def is_compressed(path: Path) -> bool:
    """Return whether a file is compressed in a known way."""
    with _open(path) as file:
        start = file.read(16)
    return any(start.startswith(magic) for magic in OPENERS)


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file for reading bytes, decompressed where its first bytes show a compression.

    Raises:
        DataError: It is not a regular file, cannot be read, or is an archive or a workbook.
    """
    file = _open(path)
    start = file.read(START_BYTES)
    file.seek(0)
    for magic, advice in OTHER_KINDS.items():
        if start.lower().startswith(magic.lower()):
            file.close()
            raise DataError(f"{path}: is {advice}", code="RK303")
    for magic, opener in OPENERS.items():
        if start.startswith(magic):
            file.close()
            return cast(IO[bytes], opener(path))
    return file


def _open(path: Path) -> IO[bytes]:
    check_regular_file(path)
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}", code="RK301") from error


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """Raise what fails while reading a file as a `DataError` of one line."""
    try:
        yield
    except BROKEN as error:
        raise DataError(f"{path}: not a complete compressed file: {error}", code="RK303") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}", code="RK301") from error
