import pytest
import torch

from recipekit.training.optimizer import adamw, learning_rate_factor


@pytest.mark.parametrize(
    ("lr_scheduler", "expected"),
    [
        ("linear", [1 / 3, 2 / 3, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]),
        ("constant", [1 / 3, 2 / 3, 1, 1, 1, 1, 1, 1, 1, 1]),
    ],
)
def test_the_learning_rate_rises_and_falls(lr_scheduler, expected):
    assert [
        learning_rate_factor(step, 10, 0.2, lr_scheduler) for step in range(10)
    ] == pytest.approx(expected)


def test_cosine_is_at_half_the_rate_in_the_middle():
    assert learning_rate_factor(5, 10, 0.0, "cosine") == pytest.approx(0.5)
    assert learning_rate_factor(0, 1, 0.1, "cosine") == 1.0


def test_vectors_have_no_weight_decay():
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    matrices, vectors = adamw(module, 1e-3, 0.01).param_groups
    assert [tuple(parameter.shape) for parameter in matrices["params"]] == [(4, 3)]
    assert [tuple(parameter.shape) for parameter in vectors["params"]] == [(4,), (4,), (4,)]
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.01, 0.0)
