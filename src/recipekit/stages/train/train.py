"""The train stage: an encoder, trained on the judged data.

It reads the collected data and, where the recipe has them, candidates and judgments, and writes
`encoder/`, which sentence-transformers loads, and `training.json`: the loss curve and the dev
values. While it works, `scratch/` holds the tokenized texts, the frozen matrices and the
checkpoints: a run that was killed goes on from the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from recipekit.artifacts.store import write_json
from recipekit.component import Embeddings
from recipekit.dataset import Dataset
from recipekit.encoding.tokens import TokenizedTexts, tokenize_table
from recipekit.errors import RunError
from recipekit.losses.label_rows import FrozenMatrix, LabelRows
from recipekit.records import Side
from recipekit.stages.inputs import StageInputs
from recipekit.stages.train.dev_evaluation import dev_evaluation, dev_sample
from recipekit.stages.train.section import TrainSection
from recipekit.tables import read_table
from recipekit.training.frozen_matrix import frozen_matrix
from recipekit.training.labels import TrainingLabels, training_labels
from recipekit.training.loop import Training, TrainingState
from recipekit.training.phases import TrainingPhase

__all__ = ["train"]

READS_CORPUS = (
    "the exact loss reads every passage of the corpus as unlabelled text, those of the test queries too: the figures are those of "
    "a corpus that was known when the encoder was trained"
)
"""What the report must say beside the figures of a phase that freezes the passages."""


def train(inputs: StageInputs, section: TrainSection, out: Path) -> dict[str, Any]:
    """Train `section.encoder`, write `out/encoder` and `out/training.json`, and return what was
    counted.

    Returns:
        `steps` and `epochs`; `queries`, `queries_without_positive`, `positives`, `ignored` and
        `hard_negatives`; `truncated`, the share of each side's texts that are cut; `tokens` and
        `seconds`; `dev`: metric, untrained and best value, the step of the best, how many queries
        and passages (null where there is no evaluation); `notes` for the report.

    Raises:
        RunError: There is nothing to train on, or training broke down or diverged.
    """
    dataset, scratch = inputs.dataset, out / "scratch"
    if dataset is None:
        raise RunError("nothing was collected to train on", code="RK630")
    encoder: Any = inputs.encoder(section.encoder)
    tokens = _tokens(inputs, dataset, encoder, scratch)
    phases = _phases(inputs, dataset, section, encoder, scratch)
    evaluate, dev = _dev(inputs, dataset, section, encoder, tokens)
    training = Training(
        encoder, tokens, phases, section,
        seed=inputs.seed, ranks=inputs.ranks, progress=inputs.progress, scratch=scratch, evaluate=evaluate,
    )  # fmt: skip
    state = training.run()
    if inputs.ranks.is_main:
        encoder.save(out / "encoder")
        write_json(out / "training.json", _curve(state, phases, section, dev))
    inputs.ranks.barrier()
    return {
        "steps": state.step,
        "epochs": sum(phase.cycles * phase.epochs for phase in phases),
        **phases[0].labels.counts(),
        "truncated": {
            side: texts.truncated / max(1, len(texts.lengths)) for side, texts in tokens.items()
        },
        "tokens": state.tokens,
        "seconds": round(state.seconds, 1),
        "dev": _dev_summary(state, section, dev),
        "notes": [READS_CORPUS] if any(phase.loss.frozen == "passage" for phase in phases) else [],
    }


def _table(inputs: StageInputs, stage: str, name: str) -> pa.Table | None:
    found = inputs.artifacts.get(stage)
    return read_table(found.path / name) if found else None


def _tokens(
    inputs: StageInputs, dataset: Dataset, encoder: Any, scratch: Path
) -> dict[Side, TokenizedTexts]:
    """Both sides' texts, tokenized once and for all epochs; by the main rank, or by an earlier
    attempt.
    """
    tables: dict[Side, Any] = {"query": dataset.queries, "passage": dataset.passages}
    if inputs.ranks.is_main:
        for side, table in tables.items():
            tokenize_table(encoder, table, side, scratch / "tokens" / side, inputs.progress)
    inputs.ranks.barrier()
    return {side: TokenizedTexts.open(scratch / "tokens" / side) for side in tables}


def _phases(
    inputs: StageInputs, dataset: Dataset, section: TrainSection, encoder: Any, scratch: Path
) -> list[TrainingPhase]:
    """Every phase with its loss built, and its labels as that loss weighs and takes them."""
    candidates, judgments = (
        _table(inputs, "mine", "candidates.arrow"),
        _table(inputs, "judge", "judgments.arrow"),
    )

    @cache
    def labels_of(weights: Any) -> TrainingLabels:
        return training_labels(
            dataset,
            candidates=candidates,
            judgments=judgments,
            unjudged=section.unjudged,
            weights=weights,
        )

    phases = []
    for name, phase in section.phases.items():
        loss = phase.loss.spec.build(inputs.context(scratch / "losses" / name))
        labels = labels_of(getattr(loss, "weights", "uniform"))
        frozen = loss.frozen is not None
        rows = _rows(labels) if frozen else None
        # Asked for here, before a step is made or a checkpoint loaded, while the encoder is
        # untrained.
        freeze = (
            partial(
                _freeze, inputs, encoder, inputs.embeddings(section.encoder, "passage"), scratch
            )
            if frozen
            else None
        )
        phases.append(
            TrainingPhase(name, loss, phase.query_epochs, phase.cycles, labels, rows, freeze)
        )
    return phases


def _rows(labels: TrainingLabels) -> LabelRows:
    positive, ignored = labels.positive, labels.ignored
    return LabelRows.from_pairs(
        len(labels.queries),
        positive.query,
        positive.passage,
        labels.weight,
        ignored.query,
        ignored.passage,
    )


def _freeze(
    inputs: StageInputs,
    encoder: Any,
    untrained: Embeddings,
    scratch: Path,
    folder: Path,
    is_untrained: bool,
) -> FrozenMatrix:
    """Encode the passages, and bring this rank's share of them into its device's memory."""
    import torch.distributed

    assert inputs.dataset is not None
    ranks, texts, passages = inputs.ranks, scratch / "tokens" / "passage", inputs.dataset.passages
    # Mining and the evaluation of the untrained encoder want the first matrix too, so it is a
    # by-product in the cache.
    matrix = (
        untrained.matrix
        if is_untrained
        else frozen_matrix(encoder, passages, texts, "passage", folder, ranks, inputs.progress)
    )
    group = torch.distributed.group.WORLD if ranks.count > 1 else None
    return FrozenMatrix.share(matrix, rank=ranks.rank, count=ranks.count, group=group).to(
        ranks.device
    )


def _dev(
    inputs: StageInputs,
    dataset: Dataset,
    section: TrainSection,
    encoder: Any,
    tokens: Mapping[Side, TokenizedTexts],
) -> tuple[Callable[[], float] | None, dict[str, int] | None]:
    """The dev evaluation and its size, or twice None where there is none."""
    if section.eval_every_epochs is None:
        return None, None
    sample = dev_sample(
        dataset, _table(inputs, "judge", "judgments.arrow"), section.dev_corpus_size, inputs.seed
    )
    if len(sample.queries) == 0:
        inputs.progress.warn(
            "no query with a positive is in the dev split: nothing is evaluated while training, the last weights are kept"
        )
        return None, None
    evaluate = dev_evaluation(encoder, tokens, dataset, sample, section.dev_metric, inputs.ranks)
    return evaluate, {"queries": len(sample.queries), "passages": len(sample.passages)}


def _dev_summary(
    state: TrainingState, section: TrainSection, dev: Mapping[str, int] | None
) -> dict[str, Any] | None:
    if dev is None or state.best_step is None:
        return None
    values = {point["step"]: point["value"] for point in state.dev}
    return {
        "metric": section.dev_metric,
        "untrained": values[0],
        "best": values[state.best_step],
        "best_step": state.best_step,
        **dev,
    }


def _curve(
    state: TrainingState,
    phases: list[TrainingPhase],
    section: TrainSection,
    dev: Mapping[str, int] | None,
) -> dict[str, Any]:
    """`training.json`."""
    return {
        "steps": state.step,
        "tokens": state.tokens,
        "seconds": state.seconds,
        "phases": [phase.name for phase in phases],
        "curve": state.curve,
        "dev": {"points": state.dev, "summary": _dev_summary(state, section, dev)},
    }
