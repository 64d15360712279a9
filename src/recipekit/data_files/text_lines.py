"""The lines of a text file, with any encoding mark and line ends."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from recipekit.data_files.compression import open_bytes, read_errors
from recipekit.errors import DataError

__all__ = ["text_lines"]

BYTE_ORDER_MARKS: Final = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark is its beginning
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
HEAD_BYTES: Final = 1 << 16
_BAD_BYTE: Final = re.compile("[\udc80-\udcff]")
"""What `surrogateescape` makes of a byte that is not UTF-8; valid UTF-8 never contains these."""


def text_lines(path: Path, encoding: str | None = None) -> Iterator[tuple[int, str]]:
    r"""Yield the numbered lines of a text file with their line ends, without a byte order mark.

    Lines end with LF or CRLF, or with CR if the first line does. A lone CR in another file is part
    of its line.

    Args:
        path: The file, which may be compressed.
        encoding: The encoding; by default the one that a byte order mark shows, otherwise UTF-8.

    Raises:
        DataError: The file cannot be read, or is not text in this encoding.
    """
    with read_errors(path), open_bytes(path) as stream:
        head = stream.read(HEAD_BYTES)
    encoding = encoding or _marked_encoding(head) or "utf-8"
    newline = _line_end(head.decode(encoding, errors="ignore"))
    is_utf8 = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")
    errors = "surrogateescape" if is_utf8 else "strict"
    number = 0
    with (
        read_errors(path),
        open_bytes(path) as stream,
        io.TextIOWrapper(stream, encoding, errors, newline=newline) as text,
    ):
        try:
            for number, line in enumerate(text, 1):
                _check(path, number, line)
                yield number, line
        except UnicodeError as error:
            raise DataError(
                f"{path}:{number + 1}: not {encoding.upper()} text: {error}", code="RK303"
            ) from error


def _marked_encoding(head: bytes) -> str | None:
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if head.startswith(mark):
            return encoding
    return None


def _line_end(head: str) -> str:
    first = re.search("\r\n|\r|\n", head)
    # A CR at the end of the head may be the first half of a CRLF.
    is_cr = first is not None and first.group() == "\r" and first.end() < len(head)
    return "\r" if is_cr else "\n"


def _check(path: Path, number: int, line: str) -> None:
    if line.isascii() and "\0" not in line:
        return
    if "\0" in line:
        raise DataError(
            f"{path}:{number}: not UTF-8 text: a zero byte, as in binary data or UTF-16 without a "
            "byte order mark",
            code="RK303",
        )
    bad = _BAD_BYTE.search(line)
    if bad:
        byte = ord(bad.group()) - 0xDC00
        position = len(line[: bad.start()].encode(errors="surrogateescape")) + 1
        raise DataError(
            f"{path}:{number}: not UTF-8 text: byte 0x{byte:02x} at byte {position} of the line; "
            "convert the file to UTF-8, or set its `encoding`, such as windows-1252, in the source "
            "`pairs`",
            code="RK303",
        )
