"""What a run did, in plain sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow.compute as pc

from recipekit.records import SPLITS
from recipekit.report.folder import RunFolder
from recipekit.report.markdown import code, escape
from recipekit.report.numbers import plural

__all__ = ["false_negatives_told", "kept_untrained", "what_was_done", "without_answer"]


def what_was_done(folder: RunFolder) -> str:
    """The run in plain sentences, a line per stage."""
    tellers = (_collected, _mined, _judged, _trained, _evaluated, _exported)
    lines = [
        f"{number}. {line}"
        for number, line in enumerate(filter(None, (tell(folder) for tell in tellers)), 1)
    ]
    return "\n".join(lines)


def _named(folder: RunFolder, stage: str, slots: str) -> str:
    """The components of a stage, as `bm25`, `dense` (exact)."""
    section = folder.recipe.get(stage) or {}
    return ", ".join(
        f"{code(name)} ({escape(str(slot.get('use', '')))})"
        for name, slot in (section.get(slots) or {}).items()
    )


def _collected(folder: RunFolder) -> str:
    dataset = folder.dataset
    if dataset is None:
        return ""
    numbers, sizes = np.unique(dataset.queries.table["split"].to_numpy(), return_counts=True)
    splits = ", ".join(
        f"{count:,} {SPLITS[number]}"
        for number, count in zip(numbers.tolist(), sizes.tolist(), strict=True)
    )
    positives = pc.sum(pc.greater(dataset.labels["grade"], 0)).as_py() or 0
    passages, queries = (
        plural(len(dataset.passages), "passage"),
        plural(len(dataset.queries), "query", "queries"),
    )
    return f"Collected {passages} and {queries} ({splits}) with {plural(positives, 'positive')} from {_named(folder, 'collect', 'sources')}."


def _mined(folder: RunFolder) -> str:
    if "mine" not in folder.manifests:
        return ""
    section = folder.recipe.get("mine") or {}
    keep = (
        f"the best {section['candidates_per_query']:,} per query kept"
        if section.get("candidates_per_query")
        else "all of them kept"
    )
    return f"Retrieved candidates with {_named(folder, 'mine', 'retrievers')}, fused by {section.get('fusion', 'rrf')}, {keep}."


def _judged(folder: RunFolder) -> str:
    if "judge" not in folder.manifests:
        return ""
    told = false_negatives_told(folder.summary("judge").get("false_negatives") or {})
    return f"Judged them with {_named(folder, 'judge', 'judges')}.{f' Of the unlabelled candidates: {told}.' if told else ''}"


def false_negatives_told(counts: Mapping[str, Any]) -> str:
    """What became of unlabelled candidates: found is what a judge calls positive; what a filter
    ignores is only likely one.
    """
    if not counts:
        return ""
    positive, undecided = int(counts.get("positive", 0)), int(counts.get("undecided", 0))
    likely = int(counts.get("ignore", 0)) - undecided
    parts = [f"false negatives found: {positive:,}"]
    parts += (
        [f"likely false negatives, ignored: {likely:,}"]
        if likely or "undecided" not in counts
        else []
    )
    parts += [f"undecided, ignored: {undecided:,}"] if undecided else []
    return "; ".join(parts)


def kept_untrained(folder: RunFolder) -> str:
    """That training changed nothing, where no later weights were better on dev than those it
    started from; else empty.
    """
    dev = folder.summary("train").get("dev") or {}
    if dev.get("best_step") != 0:
        return ""
    queries = (
        f" ({plural(dev['queries'], 'dev query', 'dev queries')})" if dev.get("queries") else ""
    )
    return f"no step of training was better on {dev.get('metric', 'dev')}{queries} than the start: the weights kept are the untrained ones"


def without_answer(judges: Mapping[str, Any]) -> Iterator[str]:
    """Of every judge that was asked, the pairs that it left without an answer that could be used,
    by why.
    """
    for name, told in judges.items():
        missing = {
            why: count
            for why, count in ((told.get("counts") or {}).get("missing") or {}).items()
            if count
        }
        if missing:
            listed = ", ".join(f"{count:,} {why}" for why, count in missing.items())
            asked = told["seen"] + told.get("blind", 0)
            yield f"judge '{name}' gave no answer that could be used on {sum(missing.values()):,} of {asked:,} pairs ({listed})"


def _trained(folder: RunFolder) -> str:
    if "train" not in folder.manifests:
        return ""
    section = folder.recipe.get("train") or {}
    name = section.get("encoder", "student")
    model = ((folder.recipe.get("encoders") or {}).get(name) or {}).get("model", "")
    return f"Trained the encoder {code(name)}{f' ({escape(str(model))})' if model else ''} in {_phases(section)}."


def _phases(section: dict[str, Any]) -> str:
    told = [
        f"{code(name)} ({escape(str((phase.get('loss') or {}).get('use', '')))}, "
        f"{plural(int(phase.get('cycles', 1)), 'cycle')} of {plural(int(phase.get('query_epochs', 1)), 'epoch')})"
        for name, phase in (section.get("phases") or {}).items()
    ]
    return f"{plural(len(told), 'phase')}: {', '.join(told)}"


def _evaluated(folder: RunFolder) -> str:
    systems = list(dict.fromkeys(str(row["system"]) for row in folder.metrics))
    return (
        f"Measured {', '.join(map(escape, systems))} by {_named(folder, 'evaluate', 'evaluators')}."
        if systems
        else ""
    )


def _exported(folder: RunFolder) -> str:
    return (
        f"Wrote {', '.join(code(str(path)) for path in folder.exports)}." if folder.exports else ""
    )
