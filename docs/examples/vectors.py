"""An exporter that writes the vectors of all passages for a search engine of your own."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recipekit.component import Context, EncoderName, Exporter, ExporterSpec


class VectorsSpec(ExporterSpec):
    """Writes `vectors.npy`, float32 (passages, dimension), with ids and a card as JSON."""

    encoder: EncoderName
    """The encoder whose trained weights are used."""

    def build(self, context: Context) -> Exporter:
        return Vectors(self.encoder, context)


class Vectors(Exporter):
    def __init__(self, encoder: str, context: Context) -> None:
        self.encoder, self.context = encoder, context

    def export(
        self, files: Mapping[str, Path], card: Mapping[str, Any], folder: Path
    ) -> Mapping[str, Any]:
        import numpy as np

        embeddings = self.context.embeddings(self.encoder, "passage", weights="trained")
        np.save(folder / "vectors.npy", np.asarray(embeddings.matrix, np.float32))
        (folder / "ids.json").write_text(json.dumps(self.context.dataset.passages.ids))
        about = {key: card.get(key) for key in ("name", "base_model", "metrics")}
        about |= {"similarity": embeddings.similarity, "files": sorted(files)}
        (folder / "card.json").write_text(json.dumps(about, indent=2))
        return {"passages": len(embeddings)}
