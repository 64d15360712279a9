import pytest
import torch

from recipekit.training.optimizer import adamw, learning_rate_factor


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        ("linear", [1 / 3, 2 / 3, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]),
        ("constant", [1 / 3, 2 / 3, 1, 1, 1, 1, 1, 1, 1, 1]),
    ],
)
def test_the_learning_rate_rises_and_falls(decay, expected):
    assert [learning_rate_factor(step, 10, 0.2, decay) for step in range(10)] == pytest.approx(
        expected
    )


def test_cosine_is_half_way_down_in_the_middle():
    assert learning_rate_factor(5, 10, 0.0, "cosine") == pytest.approx(0.5)
    assert learning_rate_factor(0, 1, 0.1, "cosine") == 1.0


def test_vectors_do_not_decay():
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    decaying, spared = adamw(module, 1e-3, 0.01).param_groups
    assert [tuple(parameter.shape) for parameter in decaying["params"]] == [(4, 3)]
    assert [tuple(parameter.shape) for parameter in spared["params"]] == [(4,), (4,), (4,)]
    assert (decaying["weight_decay"], spared["weight_decay"]) == (0.01, 0.0)
