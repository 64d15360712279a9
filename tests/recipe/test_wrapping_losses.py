"""A loss that wraps another one takes its negatives from where the wrapped one does."""

from pathlib import Path

import pytest

from recipekit import load_recipe
from recipekit.errors import RecipeError
from recipekit.registry import load, resolve
from recipekit.testing import bind, check_loss, context

WRAPPER = '''
from recipekit.component import Loss, LossSpec, Slot


class HalfSpec(LossSpec):
    """Half of another loss."""

    inner: Slot[LossSpec]
    """The loss."""

    @property
    def negatives_from(self):
        return self.inner.spec.negatives_from

    def build(self, context):
        return Half(self.inner.build(context))


class Half(Loss):
    def __init__(self, inner):
        self.inner = inner

    def __call__(self, *args):
        return self.inner(*args) / 2
'''
HALF = "./half.py:HalfSpec"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "half.py").write_text(WRAPPER)
    return tmp_path


def wrapped(inner: str, depth: int) -> dict:
    loss = {"use": inner}
    for _ in range(depth):
        loss = {"use": HALF, "inner": loss}
    return loss


def recipe(folder: Path, phase: str, loss: dict) -> dict:
    written = {"use": phase, "loss": loss}
    if phase == "coordinate_ascent":
        written["passage_epochs"] = 0
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
