"""A loss that wraps another one takes its negatives from where the wrapped one does."""

from pathlib import Path

import pytest

from recipekit import load_recipe
from recipekit.errors import ComponentError, RecipeError
from recipekit.registry import load, resolve
from recipekit.testing import ConformanceError, bind, check_loss, context

WRAPPER = '''
from recipekit.component import Loss, LossSpec, Slot


class HalfSpec(LossSpec):
    """Half of another loss."""

    inner: Slot[LossSpec]
    """The loss."""

    @property
    def negatives_from(self):
        return self.inner.spec.negatives_from

    @property
    def trains_passages(self):
        return self.inner.spec.trains_passages

    def build(self, context):
        return Half(self.inner.build(context))


class Half(Loss):
    def __init__(self, inner):
        self.inner = inner

    def __call__(self, *args):
        return self.inner(*args) / 2
'''
OVER_PASSAGES = """
    def over_passages(self, *args):
        return HalfOverPassages(self.inner.over_passages(*args), self.inner)


class HalfOverPassages:
    def __init__(self, half, inner):
        self.half, self.inner = half, inner
        self.queries, self.passages = half.queries, half.passages
        self.compute, self.save, self.load = half.compute, half.save, half.load

    def block(self, rows, embeddings, *, update):
        loss, gradient = self.half.block(rows, embeddings, update=update)
        return loss / 2, gradient / 2
"""
HALF = "./half.py:HalfSpec"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "half.py").write_text(WRAPPER + OVER_PASSAGES)
    return tmp_path


def wrapped(inner: str, depth: int) -> dict:
    loss = {"use": inner}
    for _ in range(depth):
        loss = {"use": HALF, "inner": loss}
    return loss


def recipe(folder: Path, phase: str, loss: dict) -> dict:
    written = {"use": phase, "loss": loss}
    return {
        "recipe": 1,
        "name": "wrapped",
        "encoders": {"student": {"use": "bi_encoder", "model": "./model"}},
        "collect": {"sources": {"own": {"use": "pairs", "file": "pairs.jsonl"}}},
        "train": {"phases": {"only": written}},
    }


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize(
    ("inner", "fits", "other"),
    [
        ("infonce", "in_batch", "coordinate_ascent"),
        ("exact_softmax", "coordinate_ascent", "in_batch"),
    ],
)
def test_a_wrapping_loss_fits_the_phase_of_the_wrapped_one(
    folder, monkeypatch, inner, fits, other, depth
):
    monkeypatch.chdir(folder)
    loss = wrapped(inner, depth)
    assert load_recipe(recipe(folder, fits, loss), allow_local_code=True)
    with pytest.raises(RecipeError, match=f"'{other}' needs a loss whose negatives come from the"):
        load_recipe(recipe(folder, other, loss), allow_local_code=True)


@pytest.mark.parametrize("inner", ["infonce", "exact_softmax"])
def test_a_wrapping_loss_of_either_kind_is_conformant(folder, inner):
    half = load(resolve("loss", HALF, folder=folder, allow_local_code=True))
    check_loss(bind(half, {"inner": {"use": inner}}, folder), context(folder / "scratch"))
    check_loss(bind(half, {"inner": wrapped(inner, 1)}, folder), context(folder / "scratch"))


def test_a_loss_without_what_its_spec_declares_is_refused_when_it_is_built(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "half.py").write_text(WRAPPER)
    loss = wrapped("exact_softmax", 2)
    loaded = load_recipe(recipe(tmp_path, "coordinate_ascent", loss), allow_local_code=True)
    with pytest.raises(ComponentError) as raised:
        loaded.train.phases["only"].spec.loss.build(context(tmp_path / "scratch"))
    assert str(raised.value) == (
        "train.phases.only.loss.inner: HalfSpec.trains_passages is true, but what it builds, of "
        "type Half, has no over_passages(): see recipekit.losses.passage_loss.CorpusLoss"
    )
    assert raised.value.code == "RK206"


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        (OVER_PASSAGES, "", r"a Half that does not define over_passages\(\)"),
        ("gradient / 2\n", "gradient\n", "gradient of block.. is not that of the mean loss"),
        ("return loss / 2", "return loss", "but calling the loss gives"),
        ("update=update", "update=True", "the passages are not those before or after the block"),
        ("half.block(rows", "half.bloc(rows", r"block\(\) of over_passages\(\) raises"),
        ("self.compute, ", "self.computes, ", r"does not define compute\(\)"),
    ],
)
def test_a_loss_whose_passages_are_trained_wrongly_is_not_conformant(
    tmp_path, right, wrong, message
):
    whole = WRAPPER + OVER_PASSAGES
    assert right in whole
    (tmp_path / "half.py").write_text(whole.replace(right, wrong))
    half = load(resolve("loss", HALF, folder=tmp_path, allow_local_code=True))
    with pytest.raises(ConformanceError, match=message):
        check_loss(bind(half, {"inner": {"use": "exact_softmax"}}, tmp_path), context(tmp_path))


def test_a_loss_over_the_batch_trains_no_passages(folder):
    (folder / "half.py").write_text(
        WRAPPER.replace("return self.inner.spec.trains_passages", "return True")
    )
    half = load(resolve("loss", HALF, folder=folder, allow_local_code=True))
    with pytest.raises(ConformanceError, match=r"trains_passages is True; .* over the corpus"):
        check_loss(bind(half, {"inner": {"use": "infonce"}}, folder), context(folder / "scratch"))
