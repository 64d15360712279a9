"""An encoder and a table of texts of many lengths."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recipekit.encoders.bi_encoder import BiEncoderSpec
from recipekit.tables import PASSAGES, TextTable, read_table, write_table
from recipekit.testing import context


@pytest.fixture
def make_encoder(tiny_model: Path, tmp_path: Path) -> Callable[..., Any]:
    """`make_encoder(**fields)`: the tiny model, by default in fp32 with 400 tokens a batch."""

    def make(**fields: Any) -> Any:
        spec = BiEncoderSpec(
            **{"model": str(tiny_model), "precision": "fp32", "max_tokens_per_batch": 400, **fields}
        )
        return spec.build(context(tmp_path / "scratch"))

    return make


@pytest.fixture
def table(tmp_path: Path) -> TextTable:
    """500 passages of 0 to 69 words, every tenth with a title."""
    random = np.random.default_rng(5)
    words = ["river", "opera", "gene", "honey", "comet", "valve"]
    texts = [" ".join(random.choice(words, size=random.integers(0, 70))) for _ in range(500)]
    titles = ["orbit" if i % 10 == 0 else "" for i in range(500)]
    columns = [[f"p{i}" for i in range(500)], titles, texts, ["test"] * 500]
    write_table(tmp_path / "passages.arrow", PASSAGES, [pa.table(columns, schema=PASSAGES)])
    return TextTable(read_table(tmp_path / "passages.arrow"))
