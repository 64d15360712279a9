"""Vectors of passages in a file of JSON lines, as a script that calls an API may write them."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from recipekit.component import Context, LocalPath, VectorChunk, VectorSource, VectorSourceSpec


class JsonVectorsSpec(VectorSourceSpec):
    """Lines such as `{"id": "p1", "vector": [0.1, 0.2]}`, compared by cosine."""

    path: LocalPath
    """The file, relative to the recipe."""

    def files(self) -> Mapping[str, Path]:
        return {"vectors": self.path}

    def known_similarity(self) -> str:
        return "cosine"

    def described(self) -> str:
        return f"file {self.path.name}"

    def build(self, context: Context) -> VectorSource:
        return JsonVectors(self.path)


class JsonVectors:
    similarity = "cosine"

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open(encoding="utf-8") as lines:
            self.dimension = len(json.loads(next(lines))["vector"])

    def read(self) -> Iterator[VectorChunk]:
        import numpy as np

        with self.path.open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                yield VectorChunk([row["id"]], np.array([row["vector"]], dtype=np.float32))
