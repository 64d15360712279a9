"""An encoder has the optional members that stages read, or is refused when it is built."""

from typing import Any

import pytest
import torch

from helpers.train_inputs import train_inputs
from recipekit.component import Context, Encoder, EncoderSpec
from recipekit.errors import ComponentError
from recipekit.registry import resolve


class Bare(EncoderSpec):
    """An encoder that does not derive from `Encoder`."""

    def build(self, context: Context) -> Any:
        return torch.nn.Linear(2, 2)


class Derived(EncoderSpec):
    """An encoder that does."""

    def build(self, context: Context) -> Any:
        return type("Own", (torch.nn.Module, Encoder), {})()


def test_a_class_that_does_not_derive_from_encoder_is_refused_with_the_remedy(
    tmp_path, tiny_model, tiny_dataset
):
    inputs = train_inputs(tmp_path, tiny_model, tiny_dataset)
    slot, entry = inputs.encoders["student"], resolve("encoder", "bi_encoder")
    slot.bind(entry, Bare())
    with pytest.raises(ComponentError) as raised:
        inputs.encoder("student")
    assert str(raised.value) == (
        "encoders.student: Bare builds a Linear without has_untrained_dense, weights_of: make it a "
        "subclass of torch.nn.Module and recipekit.component.Encoder, which has defaults"
    )
    assert raised.value.code == "RK206"
    slot.bind(entry, Derived())
    built = inputs.encoder("student")
    assert not built.has_untrained_dense and built.weights_of("query") is None
