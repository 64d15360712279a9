import torch

from recipekit.component import SingleProcess
from recipekit.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from recipekit.training.optimizer import adamw

RANKS = SingleProcess()


def make_step(module: torch.nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    torch.manual_seed(seed)
    module(torch.randn(4, 3)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def make_module(seed: int) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    module[0].bias.requires_grad_(False)
    return module, adamw(module, 1e-2, 0.01)


def checkpoint(module, optimizer, step: int, best=None) -> Checkpoint:
    state = {"step": step}
    return Checkpoint(RANKS.weights(module), best, RANKS.optimizer_state(module, optimizer), state)


def test_training_continues_from_a_checkpoint_with_identical_weights(tmp_path):
    module, optimizer = make_module(0)
    make_step(module, optimizer, 1)
    save_checkpoint(tmp_path, 1, checkpoint(module, optimizer, 1), RANKS)
    make_step(module, optimizer, 2)

    other, other_optimizer = make_module(5)
    found = load_checkpoint(tmp_path, RANKS)
    RANKS.set_weights(other, found.weights)
    RANKS.set_optimizer_state(other, other_optimizer, found.optimizer)
    make_step(other, other_optimizer, 2)
    assert found.state == {"step": 1}
    assert found.kept is None
    for one, two in zip(module.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_the_latest_complete_checkpoint_is_used_and_earlier_ones_are_deleted(tmp_path):
    module, optimizer = make_module(0)
    assert load_checkpoint(tmp_path, RANKS) is None
    save_checkpoint(tmp_path, 3, checkpoint(module, optimizer, 3), RANKS)
    best = {"0.weight": torch.ones(2)}
    save_checkpoint(tmp_path, 12, checkpoint(module, optimizer, 12, best), RANKS)
    (tmp_path / "checkpoint-00000020.unfinished").mkdir()
    found = load_checkpoint(tmp_path, RANKS)
    assert found.state["step"] == 12
    assert torch.equal(found.kept["0.weight"], torch.ones(2))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint-00000012",
        "checkpoint-00000020.unfinished",
    ]
