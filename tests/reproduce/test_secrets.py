"""No file of a bundle may contain a credential, however the file is compressed or escaped."""

import bz2
import gzip
import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recipekit.errors import StoreError
from recipekit.reproduce.secrets import check_no_secrets

SECRET = "sk-ünsafe/*value*&<1>"
TEXT = f"{SECRET[:9]} {SECRET[9:]} " * 50 + SECRET
"""Compression replaces both halves of the secret, which occur before it."""
ROWS = pa.table({"id": [1, 2], "notes": [[{"text": "a"}], [{"text": TEXT}]]})


def parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(ROWS, sink, compression="zstd", write_statistics=False)
    return sink.getvalue()


def arrow() -> bytes:
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(sink, ROWS.schema, options=options) as writer:
        writer.write_table(ROWS)
    return sink.getvalue()


def zstd(content: bytes) -> bytes:
    return pa.compress(content, codec="zstd", asbytes=True)


def zipped(content: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside.txt", content)
    return sink.getvalue()


WRITTEN: dict[str, Callable[[], bytes]] = {
    "plain.txt": lambda: SECRET.encode(),
    "across-parts.bin": lambda: b"x" * (2**20 - 5) + SECRET.encode(),
    "escaped.json": lambda: json.dumps([SECRET]).encode(),
    "report.html": lambda: b"sk-\xc3\xbcnsafe/*value*&amp;&lt;1&gt;",
    "report.md": lambda: "sk-ünsafe/\\*value\\*&<1>".encode(),
    "lines.jsonl.gz": lambda: gzip.compress(json.dumps({"reply": TEXT}).encode()),
    "without-suffix": lambda: bz2.compress(TEXT.encode()),
    "lines.csv.zst": lambda: zstd(TEXT.encode()),
    "table.parquet": parquet,
    "table.arrow": arrow,
    "table.parquet.zst": lambda: zstd(parquet()),
    "values.npz": lambda: zipped(TEXT.encode()),
}
COMPRESSED = list(WRITTEN)[list(WRITTEN).index("lines.jsonl.gz") :]


@pytest.mark.parametrize("name", WRITTEN)
def test_a_secret_is_found_in_every_kind_of_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SERVICE_TOKEN", SECRET)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/clean.csv").write_text("a,b\n")
    content = WRITTEN[name]()
    (tmp_path / "data" / name).write_bytes(content)
    if name in COMPRESSED:
        assert SECRET.encode() not in content, "only what is decompressed has it"
    with pytest.raises(StoreError) as error:
        check_no_secrets(tmp_path, "")
    assert error.value.message.startswith(f"data/{name}: contains the value of the variable MY_")
    assert SECRET not in error.value.message
    monkeypatch.setenv("MY_SERVICE_TOKEN", "another value")
    check_no_secrets(tmp_path, "")


def test_damaged_files_are_searched_up_to_the_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SERVICE_TOKEN", SECRET)
    for name, content in (("a.gz", gzip.compress(random.randbytes(999))), ("b.parquet", parquet())):
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    (tmp_path / "c.zip").write_bytes(zipped(b"x" * 99)[:-30])
    check_no_secrets(tmp_path, "")
