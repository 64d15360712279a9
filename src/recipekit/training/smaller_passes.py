"""A step that does not fit into memory is repeated with smaller forward passes."""

from __future__ import annotations

from typing import Any

from recipekit.component import Phase, Progress, Ranks, StepResult
from recipekit.encoding.out_of_memory import free_memory, is_out_of_memory
from recipekit.errors import RunError
from recipekit.training.forward import EncoderForward

__all__ = ["gradient_in_memory"]


def gradient_in_memory(
    phase: Phase,
    step: int,
    *,
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
        encoder: The encoder, whose gradients are empty.
        forward: What the phase embeds with; None repeats nothing.
        ranks: The ranks that train together.
        progress: Where smaller passes are reported, once for each step that needs them.

    Raises:
        RunError: Memory is not enough for one text, or several ranks train: the others wait within
            the step that one of them cannot finish.
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
        if forward is None or ranks.count > 1 or not forward.halve():
            raise _too_large(forward, ranks)
    if forward is not None and forward.max_tokens_per_batch < before:
        now = forward.max_tokens_per_batch
        progress.warn(
            f"out of memory with {before:,} tokens in a forward pass: training goes on with "
            f"{now:,}, with the same result. `train.max_tokens_per_batch: {now}` avoids the failed "
            "attempts"
        )
    return result


def _too_large(forward: EncoderForward | None, ranks: Ranks) -> RunError:
    if forward is not None and ranks.count > 1:
        half = max(1, forward.max_tokens_per_batch // 2)
        return RunError(
            f"rank {ranks.rank} is out of memory, and several ranks cannot repeat a step alone: "
            f"set train.max_tokens_per_batch: {half} or less",
            code="RK634",
        )
    return RunError(
        "out of memory with one text in a forward pass: set a shorter max_length for the encoder, "
        "train.gradient_checkpointing: true, or train.lora",
        code="RK634",
    )
