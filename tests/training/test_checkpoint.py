import torch

from recipekit.training.checkpoint import (
    load_checkpoint,
    restore_optimizer,
    save_checkpoint,
    set_weights,
)
from recipekit.training.optimizer import adamw


def a_step(module: torch.nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    torch.manual_seed(seed)
    module(torch.randn(4, 3)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def made(seed: int) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    module[0].bias.requires_grad_(False)
    return module, adamw(module, 1e-2, 0.01)


def test_training_goes_on_from_a_checkpoint_to_the_bit(tmp_path):
    module, optimizer = made(0)
    a_step(module, optimizer, 1)
    save_checkpoint(tmp_path, 1, module, optimizer, None, {"step": 1})
    a_step(module, optimizer, 2)

    other, other_optimizer = made(5)
    found = load_checkpoint(tmp_path)
    set_weights(other, found.weights)
    restore_optimizer(other, other_optimizer, found.moments)
    a_step(other, other_optimizer, 2)
    assert found.state == {"step": 1}
    assert found.best is None
    for one, two in zip(module.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_the_latest_whole_one_counts_and_the_older_are_gone(tmp_path):
    module, optimizer = made(0)
    assert load_checkpoint(tmp_path) is None
    save_checkpoint(tmp_path, 3, module, optimizer, None, {"step": 3})
    save_checkpoint(tmp_path, 12, module, optimizer, {"0.weight": torch.ones(2)}, {"step": 12})
    (tmp_path / "checkpoint-00000020.unfinished").mkdir()
    found = load_checkpoint(tmp_path)
    assert found.state["step"] == 12
    assert torch.equal(found.best["0.weight"], torch.ones(2))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint-00000012",
        "checkpoint-00000020.unfinished",
    ]
