"""A model that brings Python code runs it only with --trust-remote-code."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from helpers.small_run import write_recipe
from helpers.tiny_models import write_tiny_model
from recipekit import load_recipe, run
from recipekit.encoders.bi_encoder import BiEncoderSpec
from recipekit.encoding.pair_scores import load_scorer
from recipekit.errors import ModelError, RecipekitError
from recipekit.judges.cross_encoder import CrossEncoderSpec
from recipekit.testing import RecordingProgress, context

CODE = """
from pathlib import Path
from transformers import BertConfig, BertForSequenceClassification, BertModel

Path({marker!r}).touch()

class OwnConfig(BertConfig):
    model_type = "own_bert"

class OwnModel(BertModel):
    config_class = OwnConfig

class OwnScorer(BertForSequenceClassification):
    config_class = OwnConfig
"""
TEXTS = ["river mountain", "violin"]


@pytest.fixture
def own_code(words: list[str], tmp_path: Path) -> Iterator[Path]:
    """A BERT whose classes are in a file in its folder; importing it leaves `ran`."""
    folder = write_tiny_model("bert", words, tmp_path)
    (folder / "own_code.py").write_text(CODE.format(marker=str(tmp_path / "ran")))
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own_bert", "num_labels": 1}
    config["auto_map"] = {
        "AutoConfig": "own_code.OwnConfig",
        "AutoModel": "own_code.OwnModel",
        "AutoModelForSequenceClassification": "own_code.OwnScorer",
    }
    (folder / "config.json").write_text(json.dumps(config))
    yield folder
    for name in [name for name in sys.modules if name.startswith("transformers_modules")]:
        del sys.modules[name]


def message(folder: Path) -> str:
    return (
        f"model '{folder}' brings Python code of its own: read it, then pass --trust-remote-code "
        "to let it run"
    )


def test_a_model_with_its_own_code_is_refused_in_one_line(
    own_code: Path, build: Any, tmp_path: Path
) -> None:
    with pytest.raises(ModelError) as refused:
        build(model=own_code)
    assert (refused.value.message, refused.value.code) == (message(own_code), "RK408")
    assert not (tmp_path / "ran").exists()


def test_a_trusted_model_trains_and_is_saved_with_its_code(own_code: Path, tmp_path: Path) -> None:
    spec = BiEncoderSpec(model=str(own_code), precision="fp32")
    encoder = spec.build(context(tmp_path / "scratch", trust_remote_code=True))
    assert (tmp_path / "ran").exists()
    assert type(encoder.towers["query"][0].model).__name__ == "OwnModel"
    encoder.save(tmp_path / "saved")
    ids, _ = encoder.tokenize(TEXTS, "query")
    ours = encoder(encoder.collate(ids, "query"), "query").detach().numpy()
    saved = SentenceTransformer(str(tmp_path / "saved"), device="cpu", trust_remote_code=True)
    np.testing.assert_allclose(saved.encode(TEXTS), ours, atol=1e-5)


def test_a_cross_encoder_with_its_own_code_is_refused_alike(own_code: Path, tmp_path: Path) -> None:
    shutil.rmtree(own_code / "1_Pooling")
    (own_code / "modules.json").unlink()
    spec = CrossEncoderSpec(model=str(own_code), positive_threshold=0.9, negative_threshold=0.1)
    with pytest.raises(ModelError) as refused:
        load_scorer(spec, "cpu", RecordingProgress())
    assert refused.value.message == message(own_code)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(ModelError, match="is not a cross-encoder"):  # it has a bi-encoder's files
        load_scorer(spec, "cpu", RecordingProgress(), trust_remote_code=True)
    assert (tmp_path / "ran").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_a_run_needs_the_flag_and_its_command_repeats_it(
    own_code: Path, words: list[str], tmp_path: Path
) -> None:
    write_recipe(tmp_path, own_code, words)
    recipe = tmp_path / "recipe.yaml"
    folders = {"cache": tmp_path / "cache", "runs": tmp_path / "runs"}
    with pytest.raises(RecipekitError) as refused:
        run(recipe, until="mine", **folders)
    assert refused.value.message.startswith(f"mine: {message(own_code)}\n")
    finished = run(load_recipe(recipe, trust_remote_code=True), until="mine", **folders)
    command = json.loads((finished.path / "run.json").read_text())["command"]
    assert command.endswith(" --trust-remote-code")
