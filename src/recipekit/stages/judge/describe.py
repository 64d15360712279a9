"""How the report describes judgments: verdicts, false negatives, reliability, and cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from recipekit.report.blocks import (
    Block,
    Line,
    ReportSection,
    StageReport,
    Strong,
    Table,
    Text,
    spans,
)
from recipekit.report.counts import counts_table, rows_table
from recipekit.report.run_folder import RunFolder
from recipekit.stages.judge.describe_llm import calling_judges, calls_section, spending
from recipekit.stages.judge.describe_reliability import reliability_line, reliability_section
from recipekit.stages.judge.false_negatives import examples_block, false_negatives
from recipekit.stages.judge.score_distributions import score_figures
from recipekit.stages.judge.ungraded import ungraded_pairs

__all__ = ["describe"]

Counts = Mapping[str, Any]

LABELS: Final = {
    "queries": "queries",
    "candidates": "candidates",
    "source_labels.positive": "source positives",
    "source_labels.negative": "source negatives",
    "overruled.positive": "source positives overruled?",
    "overruled.negative": "source negatives overruled?",
    "verdicts.positive": "pairs judged positive",
    "verdicts.negative": "pairs judged negative",
    "verdicts.ignore": "pairs ignored",
    "unjudged": "pairs not judged",
    "false_negatives.positive_per_query": "false negatives found per query",
    "false_negatives.ignore_per_query": "unlabelled candidates ignored per query",
}
MAX_EXAMPLES: Final = 60
"""False negatives in a report; Markdown shows the first of them."""
JUDGE_LABELS: Final = {
    "pairs": "pairs",
    "control_pairs": "control pairs",
    "judged": "final verdicts",
    "verdicts positive": "positive",
    "verdicts negative": "negative",
    "verdicts ignore": "ignored",
}


VERDICTS: Final = {"ignore": "ignored"}


def describe(run: RunFolder) -> StageReport:
    """Describe the judgments. A run that missed its reliability floors has some details too."""
    return StageReport(
        sentence=_sentence(run) if run.finished("judge") else "",
        details=list(_details(run)),
        at_end=[Text(line) for line in _at_end(run)],
        on_cards=list(_on_cards(run)),
    )


def _on_cards(run: RunFolder) -> Iterator[ReportSection]:
    """How reliable the judges are, and their calls and cost; figures and examples are left out."""
    if section := reliability_section(run):
        blocks = [block for block in section.blocks if isinstance(block, Text | Table)]
        yield ReportSection(section.title, blocks)
    if section := calls_section(run):
        yield section


def _sentence(run: RunFolder) -> Line:
    found = _false_negatives_line(run)
    unlabelled = f" Of the unlabelled candidates: {found}." if found else ""
    return ("Judged them with ", *spans(run.components("judge", "judges")), f".{unlabelled}")


def _false_negatives_line(run: RunFolder) -> str:
    """How many unlabelled candidates are positive, and how many are ignored and why."""
    counts = run.summary("judge").get("false_negatives") or {}
    if not counts:
        return ""
    undecided = int(counts.get("undecided", 0))
    likely = int(counts.get("ignore", 0)) - undecided
    parts = [f"false negatives found: {int(counts.get('positive', 0)):,}"]
    if likely or "undecided" not in counts:
        parts.append(f"likely false negatives, ignored: {likely:,}")
    if undecided:
        parts.append(f"undecided, ignored: {undecided:,}")
    return "; ".join(parts)


def _details(run: RunFolder) -> Iterator[Block]:
    summary = run.summary("judge")
    for note in summary.get("notes") or ():
        yield Text((Strong("Note:"), f" {note}."))
    if sizes := counts_table(summary, LABELS):
        yield sizes
    yield from _verdicts(summary.get("judges") or {})
    if figures := list(score_figures(run)):
        yield ReportSection("Scores of the retrievers", figures)
    if section := reliability_section(run):
        yield section
    if section := calls_section(run):
        yield section
    yield from _own_counts(run)
    found = false_negatives(run, MAX_EXAMPLES)
    if found and run.dataset is not None:
        introduction = (
            "Unlabelled candidates that a judge calls positive (found) or that are ignored "
            "(likely). A random sample, one per query, positive verdicts first."
        )
        examples = examples_block(found, run.dataset)
        yield ReportSection("False negatives, found and likely", [Text(introduction), examples])


def _verdicts(judges: Mapping[str, Counts]) -> Iterator[Block]:
    """A table of the judges, and one for each judge with its verdicts by rank of the candidate."""
    rows = {}
    for name, counts in judges.items():
        rows[name] = {
            key: value for key, value in counts.items() if key not in ("by_rank", "counts")
        }
    if table := rows_table(rows, name="judge", labels=JUDGE_LABELS):
        yield table
    for name, counts in judges.items():
        by_rank = counts.get("by_rank") or {}
        title = f"Verdicts of {name} by rank of the candidate"
        if table := rows_table(by_rank, name="rank", labels=VERDICTS, title=title):
            yield table


def _own_counts(run: RunFolder) -> Iterator[ReportSection]:
    """Counts of judges that call no language model, such as a cross-encoder's thresholds."""
    calling = calling_judges(run)
    for name, counts in (run.summary("judge").get("judges") or {}).items():
        own = counts.get("counts")
        if not own or name in calling:
            continue
        paths = {path: path.replace(".", ": ").replace("_", " ") for path in _leaves(own)}
        if table := counts_table(own, paths):
            yield ReportSection(f"Judge {name}", [table])


def _leaves(counts: Counts, prefix: str = "") -> Iterator[str]:
    """The dotted paths of all figures in nested counts."""
    for key, value in counts.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _at_end(run: RunFolder) -> Iterator[Line]:
    """Lines that a run prints when it finishes."""
    summary = run.summary("judge")
    yield from filter(None, (_false_negatives_line(run), reliability_line(run), spending(run)))
    for line in ungraded_pairs(summary.get("judges") or {}):
        yield f"note: {line}; `recipekit run --from judge` asks again"
    for note in summary.get("notes") or ():
        yield f"note: {note}"
