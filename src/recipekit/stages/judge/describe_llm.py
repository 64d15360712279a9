"""How the report describes judges that call language models: calls, tokens, cost, and biases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from recipekit.judging.agreement import wilson
from recipekit.report.blocks import (
    Block,
    Bullets,
    Code,
    Line,
    ReportSection,
    Table,
    Text,
    join,
    spans,
)
from recipekit.report.numbers import p_value, percent, plural, usd
from recipekit.report.run_folder import RunFolder

__all__ = ["calling_judges", "calls_section", "spending"]

Counts = Mapping[str, Any]

HEADER: Final = (
    "pairs",
    "positive",
    "ignored",
    "calls",
    "cached replies",
    "input tokens",
    "output tokens",
    "cost",
)
MAX_POSITIONS: Final = 10
"""Positions in a call that are shown apart; longer calls are shown in this many bands."""
SIGNIFICANT: Final = 0.01
"""Positions matter below this p. At 0.05, one unbiased judge in twenty would be called biased."""

NO_GRADE: Final = {
    "unparsed": "the reply could not be parsed",
    "refused": "the model refused",
    "filtered": "the endpoint's content filter withheld the reply",
    "cut": "the reply did not end within `max_tokens`",
    "too_long": "the prompt did not fit the model's context",
    "bad_request": "the endpoint rejected the request",
    "unanswered": "every attempt failed",
}
CANARIES: Final = {
    "stuffed": "repeats the query's words",
    "injected": "orders the judge to call it relevant",
}


def calling_judges(run: RunFolder) -> dict[str, Counts]:
    """The own counts of each judge that calls a language model, by its name."""
    judges = run.summary("judge").get("judges") or {}
    counts = {name: (judge.get("counts") or {}) for name, judge in judges.items()}
    return {name: own for name, own in counts.items() if "calls" in own}


def spending(run: RunFolder) -> str:
    """Calls and cost of judging in one sentence; empty if no judge calls a language model."""
    spent = run.summary("judge").get("spent")
    if not spent:
        return ""
    cost = "an unknown amount (no price is known)"
    if spent["usd"] is not None:
        free = spent["calls"] and not spent["usd"]
        cost = "nothing (the endpoint's price is 0)" if free else usd(spent["usd"])
    cached = sum(
        (counts.get("from_store") or {}).get("usd") or 0.0
        for counts in calling_judges(run).values()
    )
    earlier = f"; the cached replies had cost {usd(cached)}" if cached else ""
    when = " in an earlier run" if run.reused("judge") else ""
    return f"Judging{when} took {plural(spent['calls'], 'paid call')} and cost {cost}{earlier}."


def calls_section(run: RunFolder) -> ReportSection | None:
    """Calls, tokens and cost by judge, and what each judge's answers show; None without calls."""
    judges = calling_judges(run)
    return ReportSection("Language model calls", list(_calls(run, judges))) if judges else None


def _calls(run: RunFolder, judges: Mapping[str, Counts]) -> Iterator[Block]:
    if sentence := spending(run):
        yield Text(sentence)
    yield Table(["judge", *HEADER], [[Code(name), *_row(of)] for name, of in judges.items()])
    if any((counts.get("from_store") or {}).get("replies") for counts in judges.values()):
        yield Text("Cached replies were paid for earlier. Token counts include them.")
    for name, counts in judges.items():
        blocks: list[Block] = []
        if sentences := list(_sentences(counts)):
            blocks.append(Bullets(sentences))
        blocks += [*_canaries(counts), *_positions(counts)]
        if blocks:
            yield ReportSection(("Judge ", Code(name)), blocks)


def _row(counts: Counts) -> list[str]:
    verdicts, tokens = counts.get("verdicts") or {}, counts.get("tokens") or {}
    graded = sum(verdicts.values()) - verdicts.get("unjudged", 0)
    shares = [
        percent(verdicts.get(verdict, 0) / graded) if graded else "-"
        for verdict in ("positive", "ignore")
    ]
    cached = (counts.get("from_store") or {}).get("replies", 0)
    numbers = [counts["calls"], cached, tokens.get("in", 0), tokens.get("out", 0)]
    amounts = [f"{number:,}" for number in numbers]
    return [f"{counts.get('pairs', 0):,}", *shares, *amounts, usd(counts.get("usd"))]


# Sentences
# --------------------------------------------------------------------------------------------------


def _sentences(counts: Counts) -> Iterator[Line]:
    yield from _models(counts.get("models") or {})
    tokens = counts.get("tokens") or {}
    if tokens.get("cached") or tokens.get("reasoning"):
        cached, reasoning = tokens.get("cached", 0), tokens.get("reasoning", 0)
        yield (
            f"The endpoint served {cached:,} input tokens from its cache; {reasoning:,} output "
            "tokens were reasoning."
        )
    yield from _without_grade(counts)
    cut = counts.get("cut") or {}
    if any(cut.values()):
        passages = plural(cut.get("passages", 0), "passage")
        queries = plural(cut.get("queries", 0), "query", "queries")
        yield f"Texts that were too long and shown truncated: {passages} and {queries}."
    if repeat := counts.get("repeat"):
        same = _share(round(repeat["same"] * repeat["pairs"]), repeat["pairs"])
        yield f"Asked again in another order, it gave the same verdict for {same} pairs."
    if "mean_confidence" in counts:
        yield f"Its mean confidence is {counts['mean_confidence']:.2f}."


def _models(models: Mapping[str, int]) -> Iterator[Line]:
    if not models:
        return
    by_replies = sorted(models.items(), key=lambda item: -item[1])
    names = join([(Code(name), f" ({replies:,})") for name, replies in by_replies])
    warning = ": verdicts of different models may not be comparable" if len(models) > 1 else ""
    yield ("Replies came from ", *spans(names), f"{warning}.")


def _without_grade(counts: Counts) -> Iterator[Line]:
    """Replies that were not usable, pairs without a grade, and pairs beyond the budget."""
    again = counts.get("asked_again") or {}
    if total := sum(again.values()):
        listed = ", ".join(
            f"{count:,} {reason.replace('_', ' ')}" for reason, count in again.items()
        )
        yield f"Unusable replies that were requested again: {total:,} ({listed})."
    missing = {why: count for why, count in (counts.get("missing") or {}).items() if count}
    if missing:
        listed = ", ".join(f"{count:,}: {NO_GRADE.get(why, why)}" for why, count in missing.items())
        yield f"Ungraded pairs, which are ignored: {sum(missing.values()):,} ({listed})."
    if counts.get("pairs_over_budget"):
        yield f"Pairs that the budget did not cover: {counts['pairs_over_budget']:,}."


def _share(hits: int, n: int) -> str:
    """A share of counted things with Wilson's interval."""
    interval = wilson(hits, n)
    if interval is None:
        return "-"
    bounds = f"{percent(interval['low'])} to {percent(interval['high'])}"
    return f"{hits:,} of {n:,} ({percent(interval['value'])}, 95 % interval {bounds})"


# Biases
# --------------------------------------------------------------------------------------------------


def _canaries(counts: Counts) -> Iterator[Block]:
    """Planted passages that answer no query, and how many the judge did not call negative."""
    kinds = counts.get("canaries") or {}
    if not kinds:
        return
    rows = []
    for kind, of in kinds.items():
        meaning = f": {CANARIES[kind]}" if kind in CANARIES else ""
        rows.append([f"{kind}{meaning}", _share(of["passed"], of["seen"])])
    yield Table(["planted irrelevant passage", "not called negative"], rows)


def _positions(counts: Counts) -> Iterator[Block]:
    """Whether a passage's position in the prompt changes its verdict."""
    positions = counts.get("positions") or {}
    judged, shares = positions.get("judged") or [], positions.get("positive_share") or []
    if len(judged) < 2:
        return
    header, cells = _position_bands(judged, shares)
    title = f"Positive verdicts by position, over {plural(positions['calls'], 'shuffled call')}"
    yield Table(["position", *header], [["positive", *cells]], title=title)
    if positions.get("p") is not None:
        matters = positions["p"] < SIGNIFICANT
        finding = "The position matters" if matters else "No effect of the position was found"
        yield Text(f"{finding} (Cochran's Q, {p_value(positions['p'])}).")


def _position_bands(judged: Sequence[int], shares: Sequence[float]) -> tuple[list[str], list[str]]:
    """Names of bands of positions, and the share of positive verdicts in each."""
    width = -(-len(judged) // MAX_POSITIONS)
    header, cells = [], []
    for start in range(0, len(judged), width):
        stop = min(start + width, len(judged))
        total = sum(judged[start:stop])
        positive = sum(
            n * share for n, share in zip(judged[start:stop], shares[start:stop], strict=True)
        )
        header.append(str(start + 1) if width == 1 else f"{start + 1}-{stop}")
        cells.append(percent(positive / total) if total else "-")
    return header, cells
