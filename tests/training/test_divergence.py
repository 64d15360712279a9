import pytest

from recipekit.errors import RunError
from recipekit.training.divergence import WINDOW, LossWatch


def watch_over(losses: list[float]) -> LossWatch:
    watch = LossWatch()
    for step, loss in enumerate(losses):
        watch.add(loss, 1.0, step, 1e-3)
    return watch


def test_a_loss_that_falls_stalls_or_jumps_once_is_accepted():
    watch_over([5.0 - step / 100 for step in range(300)])
    watch_over([5.0] * 300)
    watch_over([2.0] * 200 + [50.0] + [2.0] * 100)


def test_a_loss_that_has_risen_for_long_ends_the_run():
    with pytest.raises(
        RunError, match=r"diverged at step 1\d\d: .* last 50 steps .* lower learning_rate"
    ) as error:
        watch_over([2.0] * 100 + [8.0] * 100)
    assert error.value.code == "RK633"


@pytest.mark.parametrize(
    ("loss", "norm", "what"),
    [
        (float("nan"), 1.0, "the loss is nan"),
        (1.5, float("inf"), "the gradient is inf where the loss is 1.5"),
    ],
)
def test_a_loss_or_gradient_that_is_not_finite_ends_the_run_at_once(loss, norm, what):
    message = rf"failed at step 7 in phase warm \(batch: queries 'q1'\): {what}, learning rate"
    with pytest.raises(RunError, match=message) as error:
        LossWatch().add(loss, norm, 7, 1e-3, lambda: " in phase warm (batch: queries 'q1')")
    assert error.value.code == "RK632"


def test_it_continues_from_saved_losses():
    whole = [2.0] * WINDOW + [3.0] * 20
    watch = watch_over(whole[:30])
    resumed = LossWatch(list(watch.first), list(watch.last))
    for step, loss in enumerate(whole[30:], start=30):
        resumed.add(loss, 1.0, step, 1e-3)
    assert resumed == watch_over(whole)
