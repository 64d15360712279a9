"""The expected work of training."""

from __future__ import annotations

import math
from typing import Any

from recipekit.stages.estimate_inputs import FLOAT_BYTES, EstimateInputs
from recipekit.stages.train.section import TrainSection

__all__ = ["estimate"]


def estimate(inputs: EstimateInputs, section: TrainSection) -> dict[str, Any]:
    """Return steps and queries, and the frozen matrix of losses over the whole corpus."""
    queries, passages = inputs.sizes.queries.get("train", 0), inputs.sizes.passages
    steps_per_epoch = math.ceil(queries / section.batch_size)
    phases = section.phases.values()
    work: dict[str, Any] = {
        "training queries at most": queries,
        "passages": passages,
        "steps": sum(steps_per_epoch * phase.query_epochs * phase.cycles for phase in phases),
    }
    dimension = inputs.dimension(section.encoder)
    losses = [phase.loss.spec for phase in phases]
    whole_corpus = any(loss.whole_corpus for loss in losses)
    if dimension is None or not whole_corpus:
        return work
    # Value and gradient of the streamed softmax take 4 B N d operations, with multiplications and
    # additions counted separately.
    flop = 4.0 * min(section.batch_size, queries) * passages * dimension
    return {
        **work,
        "bytes of the frozen matrix": passages * dimension * FLOAT_BYTES,
        "flop a step in the loss": flop,
    }
