"""Export the trained encoder as a sentence-transformers folder with a model card."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import model_validator

from recipekit.component import Context, Exporter, ExporterSpec
from recipekit.encoding.compression_keys import Compression
from recipekit.errors import RunError
from recipekit.recipe.sections import TRAINED

__all__ = ["ModelWriter", "SentenceTransformersSpec"]


class SentenceTransformersSpec(ExporterSpec):
    """Write the trained model as a folder that `SentenceTransformer(folder)` loads.

    The folder keeps prompts, pooling, normalization and maximum length, so `encode_query` and
    `encode_document` return the vectors that were evaluated. Its model card states usage, metrics,
    data, and how to reproduce the model.
    """

    needs: ClassVar[tuple[str, ...]] = ("encoder",)

    compression: Compression | None = None
    """Fewer dimensions: `{dimensions: 128}` becomes the model's `truncate_dim`, and `{pca: 128}` a
    Dense layer with the principal components of the passages' vectors. The evaluator `retrieval`
    measures the loss. For `int8` and `binary`, which concern stored vectors, use the exporter
    `embeddings`."""

    @model_validator(mode="after")
    def _reduces_dimensions(self) -> Self:
        if self.compression is not None and self.compression.precision != "fp32":
            raise ValueError(
                f"compression: a model has no {self.compression.precision} vectors: use the "
                "exporter 'embeddings', which writes vectors"
            )
        return self

    def distributions(self) -> tuple[str, ...]:
        """Return scikit-learn if principal components are computed."""
        return self.compression.distributions() if self.compression else ()

    def build(self, context: Context) -> Exporter:
        """Make the exporter."""
        return ModelWriter(self, context)


class ModelWriter:
    """Writes one model; see `SentenceTransformersSpec`."""

    def __init__(self, spec: SentenceTransformersSpec, context: Context) -> None:
        self.spec, self.context = spec, context

    def export(
        self, files: Mapping[str, Path], card: Mapping[str, Any], folder: Path
    ) -> Mapping[str, Any]:
        """Copy the trained encoder into `folder`, with fewer dimensions if asked, and its card.

        Returns:
            `files` and `bytes` of the folder.

        Raises:
            RunError: Nothing was trained, or the dimensions cannot be reduced as asked.
        """
        from recipekit.exporters.model_card import write_model_card

        encoder = files.get("encoder")
        if encoder is None or not (encoder / "modules.json").is_file():
            raise RunError(
                "there is no trained model to export: this recipe has no train section",
                code="RK643",
            )
        if self.spec.compression is None:
            shutil.copytree(encoder, folder, dirs_exist_ok=True)
        else:
            self._reduce(encoder, folder)
        reduction = self.spec.compression.name if self.spec.compression else ""
        write_model_card(card, folder, folder, variant=reduction)
        written = [file for file in folder.rglob("*") if file.is_file()]
        return {"files": len(written), "bytes": sum(file.stat().st_size for file in written)}

    def _reduce(self, encoder: Path, folder: Path) -> None:
        from recipekit.encoding.compression import fit_compressor
        from recipekit.exporters.reduced_model import reduce_model

        assert self.spec.compression is not None
        vectors = self.context.embeddings(TRAINED, "passage")
        compressor = fit_compressor(self.spec.compression, vectors.matrix, vectors.similarity)
        reduce_model(encoder, compressor, folder)
