"""Compared models as the systems that evaluators measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from recipekit.arrays import Floats, Rows
from recipekit.artifacts.key import key_of
from recipekit.compare.kept import kept_matrix, texts_hash
from recipekit.compare.models import ComparedModel
from recipekit.compare.vectors import as_stored, cut
from recipekit.component import Embeddings, Encoder, Retriever, System
from recipekit.errors import RunError
from recipekit.records import Side, Similarity
from recipekit.retrievers.exact import ExactSpec
from recipekit.stages.inputs import StageInputs

__all__ = ["encoder_of", "identity_of", "system_of"]


def encoder_of(model: ComparedModel, inputs: StageInputs) -> Encoder:
    """Return the encoder of a model, built once for its inputs."""
    return inputs.encoder(model.encoder, weights=model.weights)


def identity_of(model: ComparedModel, inputs: StageInputs) -> Any:
    """Return what decides the vectors of a model's encoder."""
    _, identity = inputs.encoder_spec(model.encoder, model.weights)
    return identity


def system_of(
    model: ComparedModel, inputs: StageInputs, rows: Rows | None, scratch: Path, *, searches: bool
) -> System:
    """Return a model as a system.

    What is encoded stays in the cache, so another comparison of the same weights on the same texts
    encodes nothing.

    Args:
        model: The model.
        inputs: Its inputs, with the data set.
        rows: The queries that are searched with; None for all.
        scratch: A folder.
        searches: Whether an evaluator searches the data set. Otherwise no corpus is encoded.
    """
    identity = identity_of(model, inputs)
    options = [model.argument.dimensions, model.argument.vectors]
    is_plain = options == [None, "float32"]
    corpus = _encoded(model, inputs, rows) if searches else None
    similarity = _similarity(model, inputs) if corpus is None else corpus["passage"].similarity

    def retriever() -> Retriever:
        if corpus is None:
            raise RunError(f"system '{model.label}' was not prepared for search", code="RK640")
        there = {
            "query": _changed(model, corpus["query"], stored=False),
            "passage": _changed(model, corpus["passage"], stored=True),
        }
        context = inputs.context(scratch, weights=model.weights, query_rows=rows)
        context = replace(context, embeddings=lambda _, side: there[side], query_rows=None)
        return ExactSpec(encoder=model.encoder).build(context)

    def embed(texts: Sequence[str], side: Side) -> Floats:
        vectors = _embedded(model, inputs, identity, texts, side)
        # Texts are compared with one another here, so all of them are stored alike.
        return as_stored(
            cut(vectors, model.argument.dimensions, similarity), model.argument.vectors
        )

    key = key_of(identity) if is_plain else key_of([identity, *options])
    return System(model.label, retriever, lambda: encoder_of(model, inputs), similarity, embed, key)


def _encoded(
    model: ComparedModel, inputs: StageInputs, rows: Rows | None
) -> dict[Side, Embeddings]:
    return {
        "query": inputs.embeddings(model.encoder, "query", weights=model.weights, rows=rows),
        "passage": inputs.embeddings(model.encoder, "passage", weights=model.weights),
    }


def _similarity(model: ComparedModel, inputs: StageInputs) -> Similarity:
    spec, _ = inputs.encoder_spec(model.encoder, model.weights)
    return spec.known_similarity() or encoder_of(model, inputs).similarity


def _changed(model: ComparedModel, embeddings: Embeddings, *, stored: bool) -> Embeddings:
    """Return embeddings with the dimensions that are kept; passages as an index stores them."""
    dimensions, vectors = model.argument.dimensions, model.argument.vectors
    if dimensions is None and (vectors == "float32" or not stored):
        return embeddings
    matrix = cut(embeddings.matrix, dimensions, embeddings.similarity)
    return replace(embeddings, matrix=as_stored(matrix, vectors) if stored else matrix)


def _embedded(
    model: ComparedModel, inputs: StageInputs, identity: Any, texts: Sequence[str], side: Side
) -> Floats:
    from recipekit.encoding.embed_texts import embed_texts

    def embed() -> Floats:
        encoder = encoder_of(model, inputs)
        return embed_texts(encoder, texts, side, inputs.ranks, inputs.progress)

    whole = {"encoder": identity, "side": side, "texts": texts_hash(texts)}
    return kept_matrix(inputs.store, "text_embeddings", whole, embed)
