"""Export the trained encoder as a sentence-transformers folder with a model card."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from recipekit.component import Context, Exporter, ExporterSpec
from recipekit.errors import RunError

__all__ = ["ModelWriter", "SentenceTransformersSpec"]


class SentenceTransformersSpec(ExporterSpec):
    """Write the trained model as a folder that `SentenceTransformer(folder)` loads.

    The folder keeps prompts, pooling, normalization and maximum length, so `encode_query` and
    `encode_document` return the vectors that were evaluated. Its model card states usage, metrics,
    data, and how to reproduce the model.
    """

    needs: ClassVar[tuple[str, ...]] = ("encoder",)

    def build(self, context: Context) -> Exporter:
        """Make the exporter."""
        return ModelWriter()


class ModelWriter:
    """Writes one model; see `SentenceTransformersSpec`."""

    def export(
        self, files: Mapping[str, Path], card: Mapping[str, Any], folder: Path
    ) -> Mapping[str, Any]:
        """Copy the trained encoder into `folder` and write its card.

        Returns:
            `files` and `bytes` of the folder.

        Raises:
            RunError: Nothing was trained.
        """
        from recipekit.exporters.model_card import write_model_card

        encoder = files.get("encoder")
        if encoder is None or not (encoder / "modules.json").is_file():
            raise RunError(
                "there is no trained model to export: this recipe has no train section",
                code="RK643",
            )
        shutil.copytree(encoder, folder, dirs_exist_ok=True)
        write_model_card(card, encoder, folder)
        written = [file for file in folder.rglob("*") if file.is_file()]
        return {"files": len(written), "bytes": sum(file.stat().st_size for file in written)}
