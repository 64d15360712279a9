"""The spec of a bi-encoder is checked without loading the model."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from recipekit.artifacts.key import FileHashes, component_identity, fields_identity
from recipekit.encoders.bi_encoder import BiEncoderSpec
from recipekit.errors import ComponentError, ModelError

HUB = "sentence-transformers/all-MiniLM-L6-v2"
COMMIT = "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"


def spec(folder: Path = Path(), **fields: object) -> BiEncoderSpec:
    return BiEncoderSpec.model_validate(fields, context={"folder": folder})


def test_a_relative_path_starts_at_the_folder_of_the_recipe(tmp_path: Path) -> None:
    assert spec(tmp_path, model="./models/mine").model == str(tmp_path / "models" / "mine")
    assert spec(tmp_path / "recipes", model="../models").model == str(tmp_path / "models")
    assert spec(model="~/models").model == str(Path.home() / "models")
    assert spec(tmp_path, model=HUB).model == HUB


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"model": "all-MiniLM-L6-v2"},
            "'all-MiniLM-L6-v2' is not a Hub id: "
            "write 'OWNER/NAME'.* or './all-MiniLM-L6-v2' for a folder",
        ),
        ({"model": "models/of/mine"}, "is not a Hub id"),
        ({"model": "package:name"}, "write package:NAME/FOLDER"),
        ({"model": "package:name/../other"}, "write package:NAME/FOLDER"),
        ({"model": "./mine", "revision": "main"}, "only a model on the Hub has revisions"),
        ({"model": HUB, "sha256": "abc"}, "sha256"),
        ({"model": HUB, "pooling": "avg"}, "'cls', 'mean', 'max', 'weightedmean' or 'lasttoken'"),
        ({"model": HUB, "trust_remote_code": True}, "Extra inputs"),
    ],
)
def test_invalid_fields_are_reported(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        spec(**fields)


def test_the_identity_of_a_folder_is_its_content_not_its_path(tmp_path: Path) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    here, there = (
        component_identity(
            spec(tmp_path, model=f"./{name}"), "recipekit", "bi_encoder", FileHashes()
        )
        for name in ("here", "there")
    )
    assert here == there
    (tmp_path / "there" / "config.json").write_text('{"hidden_size": 1}')
    changed = component_identity(
        spec(tmp_path, model="./there"), "recipekit", "bi_encoder", FileHashes()
    )
    assert changed != here


def test_neither_the_path_nor_the_batch_budget_is_part_of_the_identity() -> None:
    identity = fields_identity(spec(model=HUB, revision="main", max_tokens_per_batch=7))
    assert identity == fields_identity(spec(model="./mine")) and "precision" in identity


def test_a_package_is_found_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "some_package_with_a_model" / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model.parent / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert spec(model="package:some_package_with_a_model/model").files() == {"model": model}
    with pytest.raises(ModelError, match="there is no such folder"):
        spec(model="package:some_package_with_a_model/other").files()
    with pytest.raises(ModelError, match="the package 'not_there' is not installed"):
        spec(model="package:not_there/model").files()


def test_a_folder_that_is_not_a_model_is_reported(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for name, message in {
        "absent": "no such folder",
        "file": "is a file",
        "empty": "contains no model",
    }.items():
        with pytest.raises(ModelError, match=message):
            spec(tmp_path, model=f"./{name}").files()


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the Hub's models; tests/conftest.py sets HF_HUB_OFFLINE."""
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_cached_model_is_fingerprinted_by_its_commit(hub_cache: Path) -> None:
    refs = hub_cache / "models--sentence-transformers--all-MiniLM-L6-v2" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text(COMMIT)
    assert spec(model=HUB).fingerprint() == {"model": HUB, "revision": COMMIT}
    assert spec(model=HUB, revision=COMMIT).fingerprint() == spec(model=HUB).fingerprint()


def test_a_model_that_cannot_be_reached_is_reported_with_a_remedy(
    hub_cache: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        ComponentError,
        match=r"is not in the local cache, and the Hugging Face Hub cannot be reached .*"
        r"name a folder",
    ):
        spec(model=HUB).fingerprint()
    (tmp_path / "models" / "mine").mkdir(parents=True)
    with pytest.raises(
        ComponentError, match=r"For the folder of that name, write './models/mine'$"
    ):
        spec(tmp_path, model="models/mine").fingerprint()


def test_a_trained_encoder_reads_prompts_and_pooling_from_its_folder(tmp_path: Path) -> None:
    trained = spec(
        model=HUB,
        revision=COMMIT,
        pooling="cls",
        query_prompt="q: ",
        max_length=32,
        tied=False,
        precision="fp32",
    ).at(tmp_path)
    assert trained == BiEncoderSpec(
        model=str(tmp_path), max_length=32, tied=False, precision="fp32"
    )


def test_planning_imports_no_torch(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(hashlib.sha256().hexdigest())
    code = (
        "import sys\n"
        "from recipekit.encoders.bi_encoder import BiEncoderSpec\n"
        "from recipekit.errors import ComponentError\n"
        f"BiEncoderSpec(model={str(tmp_path)!r}).files()\n"
        "try: BiEncoderSpec(model='owner/name').fingerprint()\n"
        "except ComponentError: pass\n"
        "heavy = {'torch', 'transformers', 'sentence_transformers'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    environment = {"HF_HUB_OFFLINE": "1", "SENTENCE_TRANSFORMERS_HOME": str(tmp_path), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.strip() == "[]"
