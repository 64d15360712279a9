"""Export the passages' vectors, in full or compressed, with what is needed to search them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recipekit.component import Context, EncoderName, Exporter, ExporterSpec
from recipekit.encoding.compression_keys import Compression
from recipekit.recipe.sections import TRAINED

__all__ = ["EmbeddingsSpec"]


class EmbeddingsSpec(ExporterSpec):
    """Write the passages' vectors as a matrix for other tools, in full or compressed.

    - `passages.npy`: a row per passage, float32, int8, or uint8 with a bit per dimension.
    - `passages.parquet`: the passages' `id` and `source`, in the order of the rows.
    - `ranges.npy`: for `int8`, the lowest and the highest value of each dimension, as
      sentence-transformers' quantize_embeddings takes them.
    - `components.npy`: for `pca`, the principal components, by which queries are multiplied.
    - `vectors.json`: encoder, dimensions, similarity and compression.
    - `README.md`: how to read and search them.
    """

    encoder: EncoderName = TRAINED
    """The encoder whose vectors are written; without a train section, name one of the recipe's."""
    compression: Compression | None = None
    """How the vectors are compressed: `int8`, `binary`, `{pca: 128}`, `{dimensions: 128}`, or
    dimensions and precision together. By default they are written in full. The evaluator
    `retrieval` measures the loss."""

    def distributions(self) -> tuple[str, ...]:
        """Return scikit-learn if principal components are computed."""
        return self.compression.distributions() if self.compression else ()

    def build(self, context: Context) -> Exporter:
        """Make the exporter."""
        return EmbeddingsWriter(self, context)


class EmbeddingsWriter:
    """Writes one matrix; see `EmbeddingsSpec`."""

    def __init__(self, spec: EmbeddingsSpec, context: Context) -> None:
        self.spec, self.context = spec, context

    def export(
        self, files: Mapping[str, Path], card: Mapping[str, Any], folder: Path
    ) -> Mapping[str, Any]:
        """Write the folder.

        Returns:
            `rows` of the matrix, and `files` and `bytes` of the folder.

        Raises:
            RunError: The vectors cannot be compressed as asked.
        """
        from recipekit.exporters.vectors_folder import write_vectors

        vectors = self._vectors()
        passages = self.context.dataset.passages
        write_vectors(self.spec, vectors, passages, str(card.get("name") or "vectors"), folder)
        written = [file for file in folder.rglob("*") if file.is_file()]
        return {
            "rows": {"passages.npy": len(vectors)},
            "files": len(written),
            "bytes": sum(file.stat().st_size for file in written),
        }

    def _vectors(self) -> Any:
        """Return the passages' embeddings; after training, another name means initial weights."""
        if self.spec.encoder == TRAINED:
            return self.context.embeddings(TRAINED, "passage")
        return self.context.embeddings(self.spec.encoder, "passage", weights="initial")
