"""The embeddings of both sides that coordinate ascent freezes, on disk and by name.

A side's embeddings are current until a step changes the weights that made them. They stay on disk
while a checkpoint may need them: a killed run continues against the same ones, since the encoder
has moved on and could not compute them again.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from recipekit.arrays import Rows
from recipekit.component import (
    Embeddings,
    Loss,
    Progress,
    Ranks,
    TrainingContext,
    TrainingLabels,
)
from recipekit.encoding.out_of_memory import available_memory, free_memory, is_out_of_memory
from recipekit.losses.corpus_labels import CorpusLabels
from recipekit.losses.frozen_matrix import FrozenMatrix
from recipekit.losses.log_partition import QUERIES_AT_A_TIME
from recipekit.records import Side
from recipekit.report.numbers import size

__all__ = ["FrozenSides", "exact_loss"]

DRIFT_SAMPLE = 256
"""Texts that are embedded again to measure how far the encoder has moved from frozen embeddings."""
RESIDENT_SHARE = 0.8
"""Share of a GPU's free memory that frozen passages may take there. The rest is for activations,
the optimizer and a tile of scores."""
UNTRAINED = "untrained"
"""The name of the untrained passages, which are a by-product that other stages use too."""


class FrozenSides:
    """Encodes and opens the frozen embeddings of a phase. All methods are collective."""

    def __init__(
        self,
        training: TrainingContext,
        ranks: Ranks,
        progress: Progress,
        folder: Path,
        untrained: Embeddings | None,
    ) -> None:
        """Open nothing yet.

        Args:
            training: What the phase works with.
            ranks: The processes that train together.
            progress: Where a notice is shown.
            folder: Where embeddings are written.
            untrained: The passages as the encoder embeds them now, if they are embedded already.
        """
        self.training, self.ranks, self.progress = training, ranks, progress
        self._is_streamed = False
        self.folder = folder
        self.rows: dict[Side, Rows | None] = {"query": training.labels.queries, "passage": None}
        self.current: dict[Side, str] = {}
        """Names of the embeddings that the encoder's present weights give."""
        self._untrained = untrained
        if untrained is not None:
            self.current["passage"] = UNTRAINED

    def encode(self, side: Side, position: str) -> str:
        """Encode a side with the present weights, unless its embeddings are current.

        Args:
            side: The side to encode.
            position: The position in training, from which the embeddings get their name.

        Returns:
            Their name.
        """
        if side not in self.current:
            name = f"{side}-{position}"
            self.training.encode(side, self.rows[side], self.folder / name)
            self.current[side] = name
        return self.current[side]

    def open(self, side: Side, name: str) -> FrozenMatrix:
        """Return this rank's slice of embeddings, memory-mapped."""
        return FrozenMatrix.slice_of(self._matrix(side, name), self.ranks)

    def to_device(self, passages: FrozenMatrix) -> FrozenMatrix:
        """Copy frozen passages to this rank's device if they fit there.

        Otherwise they stay on disk and are read tile by tile, with the same results; a notice says
        so once. Each rank decides for its slice.
        """
        device, taken = self.ranks.device, passages.matrix.nbytes
        free = available_memory(device)
        if free is None or taken <= RESIDENT_SHARE * free:
            try:
                return passages.to(device)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            free_memory()
        if not self._is_streamed:
            room = "too little memory" if free is None else f"{size(free)} of free memory"
            self.progress.info(
                f"the frozen embeddings take {size(taken)} and {device} has {room}: every forward "
                "pass reads them from disk, tile by tile. The result is the same and takes longer; "
                "several GPUs hold a part each, and `precision: bf16` of the encoder halves "
                "embeddings in float32"
            )
        self._is_streamed = True
        return passages

    def changed(self, side: Side, *, tied: bool) -> None:
        """Record that steps have changed the weights of a side, or of both if they are tied."""
        if tied:
            self.current.clear()
        self.current.pop(side, None)

    def restore(self, current: Mapping[Side, str]) -> None:
        """Continue with the embeddings that were current at a checkpoint."""
        self.current = dict(current)

    def drift(self, side: Side, frozen: FrozenMatrix) -> float:
        """Return the mean of 1 - cosine between frozen embeddings and the encoder's present ones.

        It is measured on a sample of at most 256 texts.
        """
        count = frozen.total
        rng = np.random.default_rng(count)
        sample = np.sort(rng.choice(count, size=min(count, DRIFT_SAMPLE), replace=False))
        rows = self.rows[side]
        now = self.training.embed(side, sample if rows is None else rows[sample])
        like = torch.empty(0, device=self.ranks.device)
        before = frozen.rows(torch.from_numpy(sample).to(self.ranks.device), like)
        cosine = torch.nn.functional.cosine_similarity(
            before, torch.from_numpy(now).to(before), dim=1
        )
        return float(1 - cosine.mean())

    def delete(self, keep: set[str]) -> None:
        """Delete the files of all embeddings but some."""
        if self.ranks.is_main and self.folder.is_dir():
            for folder in self.folder.iterdir():
                if folder.name not in keep:
                    shutil.rmtree(folder)

    def close(self) -> None:
        """Release the untrained embeddings and delete all files."""
        self._untrained = None
        self.current.clear()
        self.delete(keep=set())

    def _matrix(self, side: Side, name: str) -> npt.NDArray[Any]:
        matrix: npt.NDArray[Any]
        if name == UNTRAINED:
            assert self._untrained is not None, "the first phase has the untrained passages"
            matrix = self._untrained.matrix
        else:
            matrix = self.training.encode(side, self.rows[side], self.folder / name).matrix
        return matrix


def exact_loss(
    loss: Loss, queries: FrozenMatrix, passages: FrozenMatrix, labels: TrainingLabels
) -> float:
    """Return the mean loss of all training queries over the passages of the softmax.

    No gradients are computed.

    Args:
        loss: A loss whose negatives come from the corpus.
        queries: The embeddings of the training queries.
        passages: The embeddings of these passages, on any device.
        labels: The labels of the training queries.
    """
    ranks = queries.ranks
    like = torch.empty(0, device=ranks.device)
    total = torch.zeros((), dtype=torch.float64, device=ranks.device)
    with torch.no_grad():
        for first in range(0, queries.total, QUERIES_AT_A_TIME):
            rows = np.arange(first, min(first + QUERIES_AT_A_TIME, queries.total))
            targets = CorpusLabels.of_queries(labels, rows, ranks.device)
            embeddings = queries.rows(torch.from_numpy(rows).to(ranks.device), like)
            own = np.array_split(np.arange(len(rows)), ranks.count)[ranks.rank]
            total += loss(embeddings[own], targets, passages).double().sum()
    return float(ranks.sum(total)) / max(1, queries.total)
