"""Vectors in files, and vectors from outside as the embeddings of the passages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from recipekit.component import Embeddings
from recipekit.dataset import Dataset
from recipekit.encoding.embed import open_embeddings
from recipekit.errors import DataError
from recipekit.testing import RecordingProgress, context
from recipekit.vector_sources.stored import WantedTexts, store_vectors
from recipekit.vector_sources.vectors_file import VectorsFileSpec

MATRIX = np.random.default_rng(3).normal(size=(36, 5)).astype(np.float32)
"""A vector for each of the 36 passages of the tiny data set."""


def stored(
    spec: VectorsFileSpec, dataset: Dataset, folder: Path, progress: Any = None
) -> Embeddings:
    """The embeddings that a file gives."""
    folder.mkdir()
    source = spec.build(context(folder / "context"))
    progress = progress or RecordingProgress()
    texts = WantedTexts("passage", dataset.passages)
    store_vectors(spec, source, texts, source.similarity, folder, progress)
    return open_embeddings(folder)


def write(form: str, folder: Path, ids: list[str], vectors: np.ndarray) -> VectorsFileSpec:
    """Write vectors in one of the forms."""
    (folder / "ids.txt").write_text("".join(f"{one}\n" for one in ids))
    path = folder / f"vectors{form}"
    if form == ".npy":
        np.save(path, vectors)
    elif form == ".safetensors":
        save_file({"vectors": torch.from_numpy(vectors.copy())}, path)
    else:
        pq.write_table(pa.table({"id": ids, "vector": list(vectors)}), path, row_group_size=10)
        return VectorsFileSpec(path=path)
    return VectorsFileSpec(path=path, ids=folder / "ids.txt")


@pytest.mark.parametrize("form", [".npy", ".safetensors", ".parquet"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_each_form_gives_the_vector_of_each_passage(
    form: str, dtype: Any, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    order = np.random.default_rng(1).permutation(36)
    ids = [tiny_dataset.passages.ids[row] for row in order] + ["elsewhere"]
    vectors = np.concatenate([MATRIX[order], MATRIX[:1]]).astype(dtype)
    spec = write(form, tmp_path, ids, vectors)
    assert spec.known_dimension() == 5
    progress = RecordingProgress()
    found = stored(spec, tiny_dataset, tmp_path / "stored", progress)
    unit = MATRIX / np.linalg.norm(MATRIX, axis=1, keepdims=True)
    np.testing.assert_allclose(found.matrix, unit, atol=2e-3 if dtype == np.float16 else 1e-6)
    assert found.similarity == "cosine"
    assert any("1 vectors of passages that were not" in str(event) for event in progress.events)


def test_other_similarities_leave_the_vectors_as_they_are(
    tiny_dataset: Dataset, tmp_path: Path
) -> None:
    np.save(tmp_path / "v.npy", MATRIX)
    spec = VectorsFileSpec(path=tmp_path / "v.npy", similarity="dot")
    found = stored(spec, tiny_dataset, tmp_path / "stored")
    np.testing.assert_array_equal(found.matrix, MATRIX)
    assert (found.similarity, spec.known_similarity()) == ("dot", "dot")


def ids_of(dataset: Dataset) -> list[str]:
    return list(dataset.passages.ids)


def test_passages_without_a_vector_are_counted_and_named(
    tiny_dataset: Dataset, tmp_path: Path
) -> None:
    ids = ids_of(tiny_dataset)
    spec = write(".npy", tmp_path, ids[4:], MATRIX[4:])
    named = ", ".join(f"'{one}'" for one in ids[:3])
    with pytest.raises(DataError, match=f"4 of 36 passages have no vector: {named} and 1 m"):
        stored(spec, tiny_dataset, tmp_path / "stored")


def test_a_file_of_ids_can_have_a_byte_order_mark_and_any_line_ends(
    tiny_dataset: Dataset, tmp_path: Path
) -> None:
    ids = ids_of(tiny_dataset)
    spec = write(".npy", tmp_path, ids, MATRIX)
    plain = stored(spec, tiny_dataset, tmp_path / "plain")
    (tmp_path / "ids.txt").write_bytes("".join(f"{one}\r\n" for one in ids).encode("utf-8-sig"))
    marked = stored(spec, tiny_dataset, tmp_path / "marked")
    np.testing.assert_array_equal(marked.matrix, plain.matrix)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("p\u00e9\n".encode("latin-1"), r"ids\.txt:1: not UTF-8 text: byte 0xe9 at byte 2"),
        ("p1\n", "has 1 ids, but there are 36 vectors"),
        ("folder", "ids.txt: .* folder"),
        (None, "ids.txt: no such file"),
    ],
)
def test_a_file_of_ids_that_cannot_be_used_is_named(
    content: bytes | str | None, message: str, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    spec = write(".npy", tmp_path, ids_of(tiny_dataset), MATRIX)
    path = tmp_path / "ids.txt"
    path.unlink()
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message):
        stored(spec, tiny_dataset, tmp_path / "stored")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            lambda ids, vectors: (["p1" if one == ids[2] else one for one in ids], vectors),
            "several vectors have the same passage id: 'p1'",
            id="duplicate",
        ),
        pytest.param(
            lambda ids, vectors: (ids, np.where(np.arange(36)[:, None] == 2, np.nan, vectors)),
            "'p2': the vector has NaN or infinity",
            id="nan",
        ),
        pytest.param(
            lambda ids, vectors: (ids, np.where(np.arange(36)[:, None] == 2, 0, vectors)),
            "'p2': the vector is zero, which has no cosine",
            id="zero",
        ),
    ],
)
def test_vectors_that_cannot_be_used_are_named(
    change: Any, message: str, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    ids, vectors = change(ids_of(tiny_dataset), MATRIX)
    spec = write(".npy", tmp_path, ids, vectors.astype(np.float32))
    with pytest.raises(DataError, match=message) as error:
        stored(spec, tiny_dataset, tmp_path / "stored")
    assert error.value.code == "RK350"


def test_files_that_are_no_matrix_of_floats_are_refused(
    tiny_dataset: Dataset, tmp_path: Path
) -> None:
    cases = {
        "flat.npy": (np.ones(7, np.float32), r"has shape \(7\) and type float32"),
        "whole.npy": (np.ones((7, 2), np.int64), r"has shape \(7, 2\) and type int64"),
    }
    for name, (array, message) in cases.items():
        np.save(tmp_path / name, array)
        with pytest.raises(DataError, match=message):
            VectorsFileSpec(path=tmp_path / name).build(context(tmp_path))
    (tmp_path / "text.npy").write_text("not numpy")
    with pytest.raises(DataError, match=r"text.npy: cannot be read"):
        VectorsFileSpec(path=tmp_path / "text.npy").build(context(tmp_path))
    with pytest.raises(DataError, match="no such file"):
        VectorsFileSpec(path=tmp_path / "missing.npy").build(context(tmp_path))
    save_file({"a": torch.ones(2, 2), "b": torch.ones(2, 2)}, tmp_path / "two.safetensors")
    with pytest.raises(DataError, match="has no single tensor: name one as `tensor`; it has a, b"):
        VectorsFileSpec(path=tmp_path / "two.safetensors").build(context(tmp_path))
    ragged = pa.table({"id": ["p0", "p1"], "vector": [[1.0, 2.0], [1.0]]})
    pq.write_table(ragged, tmp_path / "ragged.parquet")
    spec = VectorsFileSpec(path=tmp_path / "ragged.parquet")
    with pytest.raises(DataError, match="the vector of row 1 has 1 dimensions, that of row 0 has"):
        list(spec.build(context(tmp_path)).read())
    with pytest.raises(DataError, match="has no column 'text'; it has id, vector"):
        VectorsFileSpec(path=tmp_path / "ragged.parquet", vector_column="text").build(
            context(tmp_path)
        )


def test_ids_and_vectors_must_be_as_many(tiny_dataset: Dataset, tmp_path: Path) -> None:
    spec = write(".npy", tmp_path, ids_of(tiny_dataset)[:-1], MATRIX)
    with pytest.raises(DataError, match="has 35 ids, but there are 36 vectors"):
        stored(spec, tiny_dataset, tmp_path / "stored")
    np.save(tmp_path / "more.npy", np.concatenate([MATRIX, MATRIX]))
    with pytest.raises(DataError, match="more vectors than the 36 passages"):
        stored(VectorsFileSpec(path=tmp_path / "more.npy"), tiny_dataset, tmp_path / "more")


def test_keys_that_do_not_fit_the_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"'v.txt' must end in .npy, .safetensors, .parquet"):
        VectorsFileSpec(path=tmp_path / "v.txt")
    with pytest.raises(ValidationError, match="leave `ids` out"):
        VectorsFileSpec(path=tmp_path / "v.parquet", ids=tmp_path / "ids.txt")
