"""Compared models as the systems that evaluators measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from recipekit.arrays import Floats, Rows
from recipekit.artifacts.key import key_of
from recipekit.comparison.kept import kept_matrix, texts_hash
from recipekit.comparison.models import ComparedModel
from recipekit.component import Embed, Embeddings, Encoder, Retriever, System
from recipekit.encoding.compression import CompressedVectors, Compressor, fit_compressor
from recipekit.encoding.compression_keys import CompressionKeys
from recipekit.encoding.out_of_memory import free_memory
from recipekit.errors import RunError
from recipekit.evaluators.variants import CompressedSearch
from recipekit.records import Side, Similarity
from recipekit.retrievers.exact import ExactSpec
from recipekit.stages.inputs import StageInputs

__all__ = ["LoadedEncoder", "identity_of", "system_of"]


class LoadedEncoder:
    """Keeps the encoder of one model in memory: several large ones may not fit."""

    def __init__(self) -> None:
        self._of: StageInputs | None = None

    def switch_to(self, inputs: StageInputs) -> None:
        """Make room for the encoder of some inputs, unless it is the one in memory."""
        if self._of is not None and not self._of.has_encoders_of(inputs):
            self._of.release_encoders()
            free_memory()
        self._of = inputs

    def get(self, model: ComparedModel, inputs: StageInputs) -> Encoder:
        """Return the encoder of a model."""
        self.switch_to(inputs)
        return inputs.encoder(model.encoder, weights=model.weights)


def identity_of(model: ComparedModel, inputs: StageInputs) -> Any:
    """Return what decides the vectors of a model's encoder."""
    _, identity = inputs.encoder_spec(model.encoder, model.weights)
    return identity


def system_of(
    model: ComparedModel,
    inputs: StageInputs,
    loaded: LoadedEncoder,
    rows: Rows | None,
    scratch: Path,
    *,
    searches: bool,
) -> System:
    """Return a model as a system.

    What is encoded stays in the cache, so another comparison of the same weights on the same texts
    encodes nothing.

    Args:
        model: The model.
        inputs: Its inputs, with the data set.
        loaded: The encoder in memory.
        rows: The queries that are searched with; None for all.
        scratch: A folder.
        searches: Whether an evaluator searches the data set. Otherwise no corpus is encoded.
    """
    keys = model.argument.compression
    identity = identity_of(model, inputs)
    loaded.switch_to(inputs)
    corpus = _encoded(model, inputs, rows) if searches else None
    if corpus is None:
        similarity = _similarity(model, inputs, loaded)
    else:
        similarity = corpus["passage"].similarity
    embed: Embed = _Embed(model, inputs, loaded, identity)

    @cache
    def compressor() -> Compressor:
        assert keys is not None and corpus is not None
        return fit_compressor(keys, corpus["passage"].matrix, similarity)

    if keys is not None:
        embed = _CompressedEmbed(keys, embed, similarity, compressor if corpus else None)

    def retriever() -> Retriever:
        if corpus is None:
            raise RunError(f"system '{model.label}' was not prepared for search", code="RK640")
        if keys is not None:
            compressed = CompressedVectors.of(compressor(), corpus["passage"].matrix)
            return CompressedSearch(corpus["query"], compressed, inputs.ranks.device)
        context = inputs.context(scratch, weights=model.weights, query_rows=rows)
        context = replace(context, embeddings=lambda _, side: corpus[side], query_rows=None)
        return ExactSpec(encoder=model.encoder).build(context)

    key = key_of(identity if keys is None else [identity, keys.model_dump()])
    return System(model.label, retriever, lambda: loaded.get(model, inputs), similarity, embed, key)


def _encoded(
    model: ComparedModel, inputs: StageInputs, rows: Rows | None
) -> dict[Side, Embeddings]:
    return {
        "query": inputs.embeddings(model.encoder, "query", weights=model.weights, rows=rows),
        "passage": inputs.embeddings(model.encoder, "passage", weights=model.weights),
    }


def _similarity(model: ComparedModel, inputs: StageInputs, loaded: LoadedEncoder) -> Similarity:
    spec, _ = inputs.encoder_spec(model.encoder, model.weights)
    return spec.known_similarity() or loaded.get(model, inputs).similarity


@dataclass(frozen=True)
class _Embed:
    """Embeds texts, each list of them once."""

    model: ComparedModel
    inputs: StageInputs
    loaded: LoadedEncoder
    identity: Any

    def __call__(self, texts: Sequence[str], side: Side, prompt: str | None = None) -> Floats:
        from recipekit.encoding.embed_texts import embed_texts

        def embed() -> Floats:
            encoder = self.loaded.get(self.model, self.inputs)
            ranks, progress = self.inputs.ranks, self.inputs.progress
            return embed_texts(encoder, texts, side, ranks, progress, prompt=prompt)

        whole = {"encoder": self.identity, "side": side, "texts": texts_hash(texts)}
        if prompt is not None:
            whole["prompt"] = prompt
        return kept_matrix(self.inputs.store, "text_embeddings", whole, embed)


@dataclass
class _CompressedEmbed:
    """Embeds texts that are compared with one another, so all of them are compressed.

    A compressor is fitted to the corpus, or, where none is searched, to the first texts.
    """

    keys: CompressionKeys
    embed: Embed
    similarity: Similarity
    fitted: Callable[[], Compressor] | None

    def __call__(self, texts: Sequence[str], side: Side, prompt: str | None = None) -> Floats:
        vectors = self.embed(texts, side, prompt)
        if self.fitted is None:
            first = fit_compressor(self.keys, vectors, self.similarity)
            self.fitted = lambda: first
        compressor = self.fitted()
        return compressor.expand(compressor.compress(vectors))
