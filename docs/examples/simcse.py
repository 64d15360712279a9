"""A phase that trains on passages without labels."""

from pydantic import Field

from recipekit.component import Context, Phase, PhasePart, PhaseSpec, StepResult


class SimCSESpec(PhaseSpec):
    """Embed a passage twice with other dropout and find it in the batch (arXiv 2104.08821)."""

    epochs: int = Field(default=1, ge=1)
    """Passes over all passages. Set `train.dropout: true`."""

    def total_epochs(self) -> int:
        return self.epochs

    def build(self, context: Context) -> Phase:
        return SimCSE(self.epochs, context)


class SimCSE(Phase):
    def __init__(self, epochs: int, context: Context) -> None:
        self.training, self.ranks = context.training, context.ranks
        self.passages = len(context.dataset.passages)
        self.steps_per_epoch = -(-self.passages // self.training.batch_size)
        self.parts = [PhasePart(epochs * self.steps_per_epoch, self.steps_per_epoch)]

    def gradient(self, step: int) -> StepResult:
        import numpy as np

        epoch, number = divmod(step, self.steps_per_epoch)
        seed = (*self.training.seed, epoch)  # from the position alone, so that a resume repeats it
        order = np.random.default_rng(seed).permutation(self.passages)
        batch = np.array_split(order, self.steps_per_epoch)[number]
        rows = batch[self.ranks.rank :: self.ranks.count]  # gradients are summed over ranks
        one, two = (self.training.forward(rows, "passage", (*seed, number, v)) for v in (0, 1))
        loss = -(one @ two.T / 0.05).log_softmax(dim=1).diagonal().sum() / len(batch)
        loss.backward()
        return StepResult(loss.detach(), self.training.forward.tokens(batch, "passage"))
