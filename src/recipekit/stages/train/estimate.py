"""The expected work of training."""

from __future__ import annotations

from typing import Any, Final

from recipekit.component import PhaseSpec
from recipekit.component.method_errors import method_errors
from recipekit.phases.coordinate_ascent import CoordinateAscentSpec
from recipekit.phases.in_batch import InBatchSpec
from recipekit.recipe.slots import encoders_in
from recipekit.stages.estimate_inputs import FLOAT_BYTES, EstimateInputs
from recipekit.stages.judge.section import JudgeSection
from recipekit.stages.mine.estimate import most_candidates_per_query
from recipekit.stages.mine.section import MineSection
from recipekit.stages.train.section import TrainSection
from recipekit.training.batches import HARD_POOL

__all__ = ["estimate"]

NO_DEV: Final = "there are no dev queries; `collect.split.dev` can take some from train"
NO_NEGATIVES: Final = (
    "its loss needs one for each query, and only source labels with a grade of 0 are negatives; "
    "judge candidates, or mine with `unjudged: negative`"
)

UNJUDGED: Final = (
    "no judge decides about the candidates, and the hardest negatives are among them; judge them, "
    "or set `unjudged: negative`"
)


def estimate(inputs: EstimateInputs, section: TrainSection) -> dict[str, Any]:
    """Return steps and queries, and the largest frozen matrix of the phases."""
    splits = dict.fromkeys(split for slot in section.phases.values() for split in slot.spec.splits)
    trained, passages = inputs.sizes.within(list(splits)).n_queries, inputs.sizes.passages
    steps, frozen, scores = 0, 0, 0
    for slot in section.phases.values():
        queries = inputs.sizes.within(slot.spec.splits).n_queries
        batch_size = slot.spec.batch_size or section.batch_size
        most = _most_passages(inputs, slot.spec)
        with method_errors(slot.spec, "total_epochs"):
            steps += slot.spec.planned_steps(queries, most, batch_size)
        if slot.spec.freezes_corpus:
            frozen = max(frozen, most)
            scores = max(scores, min(batch_size, queries) * most)
    work: dict[str, Any] = {
        "training queries at most": trained,
        "passages": passages,
        "steps": steps,
    }
    work |= _second_encoders(inputs, section, trained)
    notes: dict[str, Any] = {}
    if not inputs.sizes.queries.get("dev", 0) and section.eval_every_epochs is not None:
        notes["no evaluation during training:"] = NO_DEV
    notes |= {
        f"phase {name} may have no hard negative:": NO_NEGATIVES
        for name, slot in section.phases.items()
        if isinstance(slot.spec, InBatchSpec) and _lacks_negatives(inputs, section, slot.spec)
    }
    notes |= {
        f"phase {name} leaves out all mined candidates:": UNJUDGED
        for name, slot in section.phases.items()
        if slot.spec.reads_labels and _leaves_candidates_out(inputs, section, slot.spec)
    }
    dimension = inputs.dimension(section.encoder)
    if dimension is None or not scores:
        return {**work, **notes}
    # Value and gradient of the streamed softmax take 4 B N d operations, with multiplications and
    # additions counted separately.
    return {
        **work,
        "bytes of the frozen matrix": frozen * dimension * FLOAT_BYTES,
        "flop per step in the loss": 4.0 * scores * dimension,
        **notes,
    }


def _most_passages(inputs: EstimateInputs, phase: PhaseSpec) -> int:
    """Return the most passages that a phase trains on."""
    passages = inputs.sizes.passages
    if not isinstance(phase, CoordinateAscentSpec) or phase.passages == "all":
        return passages
    return min(passages, _most_positives(inputs, phase))


def _second_encoders(inputs: EstimateInputs, section: TrainSection, queries: int) -> dict[str, Any]:
    """Return the most work of embedding and scoring the training texts by guides and teachers."""
    scored: dict[str, int] = {}
    names = []
    for slot in section.phases.values():
        for name in encoders_in(slot.spec):
            encoder = (inputs.recipe.encoders or {}).get(name)
            if encoder is None or not encoder.spec.scores_pairs:
                names.append(name)
            elif isinstance(slot.spec, InBatchSpec):
                key = f"pairs for {name} to score at most"
                scored[key] = max(_most_pairs(inputs, slot.spec), scored.get(key, 0))
    return {**inputs.encoding(dict.fromkeys(names), queries), **scored}


def _most_pairs(inputs: EstimateInputs, phase: InBatchSpec) -> int:
    """Return the most pairs that the examples of a phase can have.

    They are positives, by a source or a judge, and the hard negatives that epochs draw from.
    """
    sizes = inputs.sizes.within(phase.splits)
    hard = sizes.n_queries * HARD_POOL * phase.num_hard_negatives
    return min(_most_positives(inputs, phase) + hard, sizes.n_queries * sizes.passages)


def _most_positives(inputs: EstimateInputs, phase: PhaseSpec) -> int:
    """Return the positive pairs of the sources, and all that judges may add."""
    sizes, mine = inputs.labelled(phase.splits), inputs.recipe.section(MineSection)
    most = sizes.positives
    if _is_judged(inputs, phase) and mine is not None:
        judged = sizes.within([split for split in phase.splits if split in mine.splits])
        most += judged.n_queries * most_candidates_per_query(mine, sizes.passages)
    return most


def _lacks_negatives(inputs: EstimateInputs, section: TrainSection, phase: InBatchSpec) -> bool:
    """Whether a phase needs hard negatives that neither judges, mining nor known labels give."""
    is_mined = inputs.recipe.section(MineSection) is not None
    is_negative = is_mined and (phase.unjudged or section.unjudged) == "negative"
    if not phase.needs_hard_negatives or _is_judged(inputs, phase) or is_negative:
        return False
    return inputs.dataset is None or not (inputs.dataset.labels["grade"].to_numpy() <= 0).any()


def _leaves_candidates_out(inputs: EstimateInputs, section: TrainSection, phase: PhaseSpec) -> bool:
    """Whether candidates are mined for a phase, and it ignores them since no judge decides."""
    mine, unjudged = inputs.recipe.section(MineSection), phase.unjudged or section.unjudged
    is_mined = mine is not None and not set(mine.splits).isdisjoint(phase.splits)
    return is_mined and unjudged == "ignore" and not _is_judged(inputs, phase)


def _is_judged(inputs: EstimateInputs, phase: PhaseSpec) -> bool:
    return inputs.recipe.section(JudgeSection) is not None and phase.labels == "judged"
