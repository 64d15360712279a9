"""Models for the encoder's tests, all small variations of `tiny_model`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recipekit.component import Encoder
from recipekit.encoders.bi_encoder import BiEncoderSpec
from recipekit.testing import RecordingProgress, context

Build = Callable[..., Encoder]


@pytest.fixture
def progress() -> RecordingProgress:
    return RecordingProgress()


@pytest.fixture
def build(tmp_path: Path, progress: RecordingProgress) -> Build:
    """`build(model=..., **fields)`: the encoder of a spec, by default in fp32."""

    def make(**fields: Any) -> Encoder:
        spec = BiEncoderSpec.model_validate(
            {"precision": "fp32", **{k: str(v) if k == "model" else v for k, v in fields.items()}}
        )
        return spec.build(context(tmp_path / "scratch", progress=progress))

    return make
