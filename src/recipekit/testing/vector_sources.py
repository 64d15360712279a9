"""The conformance check of vector sources."""

from __future__ import annotations

from typing import Any

import numpy as np

from recipekit.component import Context, VectorChunk, VectorSource, VectorSourceSpec
from recipekit.testing.promises import (
    build,
    call,
    conformance_check,
    expect,
    expect_array,
    expect_methods,
    found,
    items,
    member,
    shown,
)
from recipekit.testing.specs import check_spec

__all__ = ["check_vector_source"]

SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")


@conformance_check
def check_vector_source(spec: VectorSourceSpec, context: Context) -> None:
    """Check a vector source: finite vectors of its dimension, with ids, and equal passes.

    Raises:
        AssertionError: It breaks a promise.
    """
    check_spec(spec, "vector_source")
    name = type(spec).__name__
    described = call(f"{name}.described()", "it must return a text", spec.described)
    expect(
        isinstance(described, str) and described,
        f"{name}.described() returns {shown(described)}; a text is expected",
    )
    source = build(spec, VectorSource, context)
    expect_methods(name, source, VectorSource, "read")
    dimension = member(name, source, "dimension", "it must be an int")
    expect(
        isinstance(dimension, int) and dimension > 0,
        f"{name}.dimension is {shown(dimension)}; an int above 0 is expected",
    )
    similarity = member(name, source, "similarity", "it must be a similarity")
    expect(
        similarity in SIMILARITIES,
        f"{name}.similarity is {shown(similarity)}; one of {', '.join(SIMILARITIES)} is expected",
    )
    for known, value in (
        (spec.known_dimension(), dimension),
        (spec.known_similarity(), similarity),
    ):
        expect(
            known in (None, value),
            f"{name} states {shown(known)} before it is built, and {shown(value)} afterwards",
        )
    vectors = _read(name, source, dimension)
    again = _read(name, build(spec, VectorSource, context), dimension)
    expect(
        len(vectors) == len(again) and bool((vectors == again).all()),
        f"{name}.read() yields other vectors, or another order, in a second pass",
    )


def _read(name: str, source: Any, dimension: int) -> Any:
    """Read all vectors, and check every chunk."""
    chunks = items(f"{name}.read()", "it must yield VectorChunk", source.read)
    expect(len(chunks) > 0, f"{name}.read() yields nothing")
    for chunk in chunks:
        expect(
            isinstance(chunk, VectorChunk),
            f"{name}.read() yields {found(chunk)}; a VectorChunk is expected",
        )
        count = len(chunk.vectors)
        expect_array(f"{name}.read() vectors", chunk.vectors, (count, dimension), np.float32)
        are_ids = chunk.ids is None or (
            len(chunk.ids) == count and all(isinstance(one, str) for one in chunk.ids)
        )
        expect(are_ids, f"{name}.read() yields ids that are not one text for each vector")
    whole = np.concatenate([chunk.vectors for chunk in chunks])
    expect(bool(np.isfinite(whole).all()), f"{name}.read() yields NaN or infinity")
    return whole
