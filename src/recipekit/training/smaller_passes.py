"""A step that does not fit into memory is repeated with smaller forward passes.

A single process repeats it at once. Of several ranks, the others may wait for this one anywhere
within the step, in a collective that it will never reach. It therefore ends with
`RanksOutOfMemory`, and the runner starts all ranks again from their last checkpoint, with smaller
passes (`recipekit.pipeline.stage_process`).
"""

from __future__ import annotations

from typing import Any

from recipekit.component import Phase, Progress, Ranks, StepResult
from recipekit.encoding.out_of_memory import free_memory, is_out_of_memory
from recipekit.errors import RanksOutOfMemory, RunError
from recipekit.training.forward import EncoderForward

__all__ = ["gradient_in_memory"]


def gradient_in_memory(
    phase: Phase,
    step: int,
    *,
    where: str,
    encoder: Any,
    forward: EncoderForward | None,
    ranks: Ranks,
    progress: Progress,
) -> StepResult:
    """Add the gradient of a step; halve the tokens of a forward pass until it fits into memory.

    The sum over micro-batches does not depend on their size, so the result is the same. With
    dropout, other units are dropped.

    Args:
        phase: The phase.
        step: The step within the phase.
        where: The step within training, for an error message.
        encoder: The encoder, whose gradients are empty.
        forward: What the phase embeds with; None repeats nothing.
        ranks: The ranks that train together.
        progress: Where smaller passes are reported, once for each step that needs them.

    Raises:
        RanksOutOfMemory: Memory is not enough on one of several ranks.
        RunError: Memory is not enough for one text.
    """
    before = forward.max_tokens_per_batch if forward is not None else 0
    while True:
        if forward is not None:
            forward.start_step()
        try:
            result = phase.gradient(step)
            break
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        # Outside of `except`, whose error keeps the tensors of the failed pass.
        encoder.zero_grad(set_to_none=True)
        free_memory()
        if forward is None or not forward.halve():
            raise RunError(
                f"out of memory{_on_rank(ranks)} with one text in a forward pass: set a shorter "
                "max_length for the encoder, train.gradient_checkpointing: true, or train.lora",
                code="RK634",
            )
        if ranks.count > 1:
            raise RanksOutOfMemory(
                f"out of memory{_on_rank(ranks)} at {where}, with {before:,} tokens in a forward "
                "pass",
                remedy=f"set train.max_tokens_per_batch: {forward.max_tokens_per_batch} or less, "
                "or train.gradient_checkpointing: true",
            )
    if forward is not None and forward.max_tokens_per_batch < before:
        now = forward.max_tokens_per_batch
        progress.warn(
            f"out of memory with {before:,} tokens in a forward pass: training continues with "
            f"{now:,}, with the same result. `train.max_tokens_per_batch: {now}` avoids the failed "
            "attempts"
        )
    return result


def _on_rank(ranks: Ranks) -> str:
    return f" on rank {ranks.rank}" if ranks.count > 1 else ""
