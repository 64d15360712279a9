"""Margins between a teacher's scores that the trained encoder's similarities cannot reach."""

from __future__ import annotations

import numpy as np

from recipekit.component import Context
from recipekit.training.example_batches import ExampleEpochs
from recipekit.training.second_encoder import TeacherScores

__all__ = ["warn_of_unreachable_margins"]

LARGEST_COSINE_MARGIN = 2.0
"""Two cosine similarities, or inner products of vectors of length 1, differ by at most this."""

MIN_SHARE = 0.01
"""A smaller share of margins out of reach does not decide what a model learns."""

MEASURED_QUERIES = 8
"""Queries whose vectors show whether the encoder scales all to length 1."""


def warn_of_unreachable_margins(
    examples: ExampleEpochs, teacher: TeacherScores, context: Context
) -> None:
    """Warn if a loss trains margins that the encoder cannot have; all ranks call this together.

    Args:
        examples: The examples; those of the first epoch are measured.
        teacher: The scores of their pairs.
        context: The phase's context.
    """
    form, training = examples.form, context.training
    if form.trains_margins_of is None or form.second_encoder is None:
        return
    query, passage = examples.first_epoch()
    scores = teacher.of_examples(query, passage).numpy()
    share = float((np.abs(scores[:, :1] - scores[:, 1:]) > LARGEST_COSINE_MARGIN).mean())
    if share < MIN_SHARE:
        return
    # The similarity `dot` is bounded, too, if the model's own modules scale vectors to length 1.
    vectors = training.embed("query", np.unique(query)[:MEASURED_QUERIES])
    remedies = []
    if np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-2):
        remedies.append(
            f"set `similarity: dot` for '{training.encoder_name}', with a model that does not end "
            "with a Normalize module"
        )
    if form.trains_margins_of == "cosine":
        remedies.append("leave `similarity_fct: cos_sim` out")
    if not remedies:
        return
    remedy = " and ".join(remedies)
    context.progress.warn(
        f"in_batch: {share:.1%} of the margins between scores of the teacher "
        f"'{form.second_encoder.name}' (positive minus negative) are beyond ±2, which cosine "
        f"similarities cannot reach: {remedy}, or use DistillKLDivLoss with a low "
        "student_temperature, such as 0.05"
    )
