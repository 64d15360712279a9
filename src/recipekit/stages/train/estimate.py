"""The expected work of training."""

from __future__ import annotations

from typing import Any, Final

from recipekit.component.method_errors import method_errors
from recipekit.phases.in_batch import InBatchSpec
from recipekit.recipe.slots import encoders_in
from recipekit.stages.estimate_inputs import FLOAT_BYTES, EstimateInputs
from recipekit.stages.judge.section import JudgeSection
from recipekit.stages.mine.section import MineSection
from recipekit.stages.train.section import TrainSection

__all__ = ["estimate"]

NO_DEV: Final = "there are no dev queries; `collect.split.dev` can take some from train"
NO_NEGATIVES: Final = (
    "its loss needs one for each query, and only source labels with a grade of 0 are negatives; "
    "judge candidates, or mine with `unjudged: negative`"
)


def estimate(inputs: EstimateInputs, section: TrainSection) -> dict[str, Any]:
    """Return steps and queries, and the frozen matrix of phases over the whole corpus."""
    queries, passages = inputs.sizes.queries.get("train", 0), inputs.sizes.passages
    steps, batch_against_corpus = 0, 0
    for slot in section.phases.values():
        batch_size = slot.spec.batch_size or section.batch_size
        with method_errors(slot.spec, "total_epochs"):
            steps += slot.spec.planned_steps(queries, passages, batch_size)
        if slot.spec.freezes_corpus:
            batch_against_corpus = max(batch_against_corpus, min(batch_size, queries))
    work: dict[str, Any] = {
        "training queries at most": queries,
        "passages": passages,
        "steps": steps,
    }
    work |= _second_encoders(inputs, section)
    notes: dict[str, Any] = {}
    if not inputs.sizes.queries.get("dev", 0) and section.eval_every_epochs is not None:
        notes["no evaluation during training:"] = NO_DEV
    notes |= {
        f"phase {name} may have no hard negative:": NO_NEGATIVES
        for name, slot in section.phases.items()
        if isinstance(slot.spec, InBatchSpec) and _lacks_negatives(inputs, section, slot.spec)
    }
    dimension = inputs.dimension(section.encoder)
    if dimension is None or not batch_against_corpus:
        return {**work, **notes}
    # Value and gradient of the streamed softmax take 4 B N d operations, with multiplications and
    # additions counted separately.
    return {
        **work,
        "bytes of the frozen matrix": passages * dimension * FLOAT_BYTES,
        "flop per step in the loss": 4.0 * batch_against_corpus * passages * dimension,
        **notes,
    }


def _second_encoders(inputs: EstimateInputs, section: TrainSection) -> dict[str, Any]:
    """Return the most work of embedding the training texts with guides and teachers."""
    names = [name for slot in section.phases.values() for name in encoders_in(slot.spec)]
    return inputs.encoding(dict.fromkeys(names), inputs.sizes.queries.get("train", 0))


def _lacks_negatives(inputs: EstimateInputs, section: TrainSection, phase: InBatchSpec) -> bool:
    """Whether a phase needs hard negatives that neither judges, mining nor known labels give."""
    recipe, unjudged = inputs.recipe, phase.unjudged or section.unjudged
    is_judged = recipe.section(JudgeSection) is not None and phase.labels == "judged"
    is_mined = recipe.section(MineSection) is not None and unjudged == "negative"
    if not phase.needs_hard_negatives or is_judged or is_mined:
        return False
    return inputs.dataset is None or not (inputs.dataset.labels["grade"].to_numpy() <= 0).any()
