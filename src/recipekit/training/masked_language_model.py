"""Pre-training as a masked language model, on the collected texts without any label.

Source: Devlin et al., "BERT", arXiv 1810.04805; masks differ between epochs, as in RoBERTa
(arXiv 1907.11692). The loss of a step is the mean cross-entropy over all masked tokens of the
global batch. The masks of a text depend on the seed, the epoch, its side and its row alone, so a
step is the same for any number of ranks and any order of batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch

from recipekit.arrays import Bools, Ints, Rows
from recipekit.component import (
    Context,
    MaskedTokens,
    Phase,
    PhasePart,
    PredictsTokens,
    StepResult,
    Vocabulary,
)
from recipekit.dataset import Dataset
from recipekit.errors import RunError
from recipekit.records import SIDES, Side
from recipekit.training.batches import Epochs
from recipekit.training.masking import count_masked, mask_text

__all__ = ["MaskedLanguageModel", "selected_texts"]


class MaskedLanguageModel(Phase):
    """Predicts masked tokens of queries, passages or both."""

    trains_ranking = False

    def __init__(
        self, texts: dict[Side, Rows], probability: float, epochs: int, context: Context
    ) -> None:
        """Plan the steps.

        Args:
            texts: The rows to train on, by side.
            probability: The share of tokens that are predicted.
            epochs: Passes over the texts.
            context: The phase's context.

        Raises:
            RunError: There is no text, or the encoder does not predict tokens.
            ModelError: Its model cannot predict masked tokens.
        """
        self.context, self.training, self.ranks = context, context.training, context.ranks
        self.probability = probability
        self.sides = [side for side in SIDES if len(texts.get(side, ()))]
        if not self.sides:
            raise RunError(
                "masked_language_model has no text to train on: check `texts`, `splits` and "
                "`sources`",
                code="RK645",
            )
        self.rows = np.concatenate([texts[side] for side in self.sides])
        self.side = np.concatenate(
            [np.full(len(texts[side]), SIDES.index(side)) for side in self.sides]
        )
        encoder = self.training.encoder
        if not isinstance(encoder, PredictsTokens):
            raise RunError(
                f"masked_language_model cannot train a {type(encoder).__name__}, which does not "
                "define the methods of recipekit.component.PredictsTokens",
                code="RK645",
            )
        self.encoder: PredictsTokens = encoder
        self.vocabularies: dict[Side, Vocabulary] = {
            side: encoder.vocabulary(side) for side in self.sides
        }
        self.epochs = Epochs(
            len(self.rows), self.training.batch_size, self.training.seed, max(1, epochs)
        )
        steps_per_epoch = self.epochs.steps_per_epoch
        self.parts = [PhasePart(epochs * steps_per_epoch, steps_per_epoch)]

    def start(self) -> None:
        """Add the head that predicts tokens to the encoder."""
        head = self.encoder.add_language_model_head(
            self.context.progress.warn, trust_remote_code=self.context.trust_remote_code
        )
        self.ranks.prepare(head)

    def end(self) -> None:
        """Remove the head."""
        self.encoder.remove_language_model_head()

    def gradient(self, step: int) -> StepResult:
        """Add the gradient of one batch of texts."""
        batch, seed = self.epochs.at(step)
        rows: dict[Side, Rows] = {
            side: self.rows[batch[self.side[batch] == SIDES.index(side)]] for side in self.sides
        }
        total = sum(self._count(rows[side], side) for side in self.sides)
        loss = torch.zeros((), device=self.ranks.device)
        for side in self.sides:
            loss += self._side_gradient(rows[side], side, seed, max(1, total))
        forward = self.training.forward
        return StepResult(loss, sum(forward.tokens(rows[side], side) for side in self.sides))

    def _side_gradient(
        self, rows: Rows, side: Side, seed: Sequence[int], total: int
    ) -> torch.Tensor:
        """Add the gradient of one side's texts; return this rank's part of the mean loss."""
        forward, ranks = self.training.forward, self.ranks
        epoch = [*seed[:-1], SIDES.index(side)]
        loss = torch.zeros((), device=ranks.device)
        for turn, shares in enumerate(forward.passes(rows, side)):
            own = rows[shares[ranks.rank]]
            ids, masked = self._masked(own, side, epoch)
            place = [*seed, SIDES.index(side), ranks.rank, turn]
            mean = forward.masked(ids, masked, own, side, place).sum() / total
            mean.backward()  # type: ignore[no-untyped-call]
            loss += mean.detach()
        return loss

    def _masked(
        self, rows: Rows, side: Side, epoch: Sequence[int]
    ) -> tuple[list[Ints], MaskedTokens]:
        """Mask texts; positions count the real tokens of the batch, text after text."""
        vocabulary, start = self.vocabularies[side], 0
        ids: list[Ints] = []
        positions: list[npt.NDArray[Any]] = [np.empty(0, dtype=np.int64)]
        tokens: list[npt.NDArray[Any]] = [np.empty(0, dtype=np.int64)]
        for row, text in zip(
            rows.tolist(), self.training.forward.token_ids(rows, side), strict=True
        ):
            one = mask_text(text, vocabulary, self.probability, [*epoch, row])
            ids.append(one.ids)
            positions.append(start + one.positions)
            tokens.append(one.tokens)
            start += len(text)
        joined = (
            torch.from_numpy(np.concatenate(parts).astype(np.int64))
            for parts in (positions, tokens)
        )
        return ids, MaskedTokens(*joined)

    def _count(self, rows: Rows, side: Side) -> int:
        """Return how many tokens of texts are predicted."""
        texts = self.training.forward.token_ids(rows, side)
        vocabulary = self.vocabularies[side]
        return sum(count_masked(text, vocabulary, self.probability) for text in texts)


def selected_texts(
    dataset: Dataset,
    texts: Literal["passages", "queries", "both"],
    splits: Sequence[str],
    sources: Sequence[str] | None,
) -> dict[Side, Rows]:
    """Return the rows to train on, by side.

    Args:
        dataset: The collected data.
        texts: The sides.
        splits: Splits whose queries are used. All passages are, since they have no split.
        sources: Sources whose texts are used, by their names in the recipe; None uses all.
    """
    found: dict[Side, Rows] = {}
    if texts != "queries":
        found["passage"] = np.arange(len(dataset.passages), dtype=np.int64)
    if texts != "passages":
        found["query"] = np.sort(np.concatenate([dataset.rows(split) for split in splits]))
    if sources is None:
        return found
    return {side: rows[_is_from(dataset, side, rows, sources)] for side, rows in found.items()}


def _is_from(dataset: Dataset, side: Side, rows: Rows, sources: Sequence[str]) -> Bools:
    column = dataset.table(side).table["source"]
    is_from: Bools = pc.is_in(column, pa.array(sources, column.type)).to_numpy()
    return is_from[rows]
