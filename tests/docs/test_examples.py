"""The components that docs/plugins.md shows keep the promises of their kind."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from helpers.markdown import ROOT
from recipekit.encoders.bi_encoder import BiEncoderSpec
from recipekit.testing import (
    bind,
    check_loss,
    check_phase,
    check_retriever,
    check_source,
    context,
    small_dataset,
)

EXAMPLES = ROOT / "docs" / "examples"


def example(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import a file of docs/examples."""
    monkeypatch.syspath_prepend(EXAMPLES)
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def test_the_shared_words_retriever_is_conformant(tmp_path, monkeypatch):
    dataset = small_dataset(tmp_path / "dataset")
    shared_words = example("shared_words", monkeypatch)
    check_retriever(shared_words.SharedWordsSpec(), context(tmp_path / "scratch", dataset=dataset))


def test_the_headings_source_is_conformant(tmp_path, monkeypatch):
    headings = example("headings", monkeypatch)
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "a.md").write_text(
        "# A\n\n## How to start\n\nPress start.\n\n## How to stop\n\nStop.\n"
    )
    check_source(headings.HeadingsSpec(folder=folder), context(tmp_path / "scratch"))


def test_the_matryoshka_loss_contains_another_loss_and_is_conformant(tmp_path, monkeypatch):
    matryoshka = example("matryoshka", monkeypatch)
    fields = {"inner": {"use": "infonce"}, "dimensions": [2, 4, 8]}
    check_loss(bind(matryoshka.MatryoshkaSpec, fields), context(tmp_path))


@pytest.mark.slow
def test_the_simcse_phase_is_conformant(tmp_path, tiny_model, monkeypatch):
    simcse = example("simcse", monkeypatch)
    dataset = small_dataset(tmp_path / "dataset")
    encoder = BiEncoderSpec(model=str(tiny_model), precision="fp32").build(context(tmp_path / "e"))
    check_phase(simcse.SimCSESpec(), encoder, context(tmp_path / "scratch", dataset=dataset))


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.py")), ids=lambda file: file.name)
def test_an_example_is_short(file: Path):
    assert len(file.read_text().splitlines()) <= 40
