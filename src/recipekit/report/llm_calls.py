"""What judges that ask a language model counted: pairs, verdicts, calls, tokens, money, and how
they stood up to being tested.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from recipekit.judging.agreement import wilson
from recipekit.report.folder import RunFolder
from recipekit.report.markdown import code, escape, table
from recipekit.report.numbers import p_value, plural, usd

__all__ = ["asked", "asking_judges", "spent_told", "trust_told"]

Counts = Mapping[str, Any]

HEADER = (
    "pairs",
    "positive",
    "ignored",
    "calls",
    "from the store",
    "tokens in",
    "tokens out",
    "cost",
)
COLUMNS = 10
"""Places of a call that are shown apart; longer calls are shown in that many bands of places."""
SIGNIFICANT = 0.01
"""Below this p, places are said to matter: at 0.05, every twentieth judge would be said to be
swayed by nothing.
"""

NO_GRADE = {
    "unparsed": "could not be read",
    "refused": "the model refused",
    "filtered": "the endpoint's filter withheld",
    "cut": "did not end within `max_tokens`",
    "too_long": "did not fit the model's context",
    "bad_request": "the endpoint would not take",
    "unanswered": "failed at every attempt",
}
"""Why a pair has no grade, as what became of its answer."""


def asking_judges(folder: RunFolder) -> dict[str, Counts]:
    """What each judge that makes calls counted itself, by its name."""
    judges = folder.summary("judge").get("judges") or {}
    return {
        name: counts
        for name, told in judges.items()
        if "calls" in (counts := told.get("counts") or {})
    }


def spent_told(folder: RunFolder) -> str:
    """What judging took, in a sentence; empty where nobody was paid."""
    spent = folder.summary("judge").get("spent")
    if not spent:
        return ""
    money = "an unknown amount (no price is known)" if spent["usd"] is None else usd(spent["usd"])
    stored = sum(
        (counts.get("from_store") or {}).get("usd") or 0.0
        for counts in asking_judges(folder).values()
    )
    earlier = f"; what came from the store had cost {usd(stored)} before" if stored else ""
    made = folder.run.get("ran")
    took = "Judging took" if made is None or "judge" in made else "Judging, in an earlier run, took"
    return f"{took} {plural(spent['calls'], 'call')} to paid endpoints and cost {money}{earlier}."


def trust_told(folder: RunFolder) -> str:
    """What the last word on the pairs judged blind was worth, in a line; empty where nobody was
    measured.
    """
    told = list((folder.summary("judge").get("reliability") or {}).values())
    if not told or not told[-1]["pairs"]:
        return ""
    names = {
        "kappa": "kappa",
        "agreement": "agreement",
        "false_positive_rate": "false positives",
        "false_negative_rate": "false negatives",
    }
    figures = [
        f"{name} {told[-1][key]:.1%}" if key.endswith("_rate") else f"{name} {told[-1][key]:.3f}"
        for key, name in names.items()
        if told[-1][key] is not None
    ]
    pairs, by_people = told[-1]["pairs"], told[-1].get("by") == "people"
    whose = (
        f"{plural(pairs, 'pair')} labelled by people"
        if by_people
        else f"{plural(pairs, 'known pair')}, judged blind"
    )
    return f"on {whose}: {', '.join(figures)}"


def asked(folder: RunFolder) -> Iterator[str]:
    """A table of the judges, then of each judge what needs a sentence; nothing where no language
    model judged.
    """
    judges = asking_judges(folder)
    if not judges:
        return
    yield "### What was asked"
    yield spent_told(folder)
    yield table(["", *HEADER], [[code(name), *_row(counts)] for name, counts in judges.items()])
    if any((counts.get("from_store") or {}).get("replies") for counts in judges.values()):
        yield "Answers from the store were paid for earlier, and cost nothing now. Tokens are those of all answers, these included."
    for name, counts in judges.items():
        sentences = [f"- {sentence}" for sentence in _sentences(counts)]
        yield f"**{code(name)}**"
        yield "\n".join(sentences)
        yield from _canaries(counts)
        yield from _positions(counts)


def _row(counts: Counts) -> list[str]:
    verdicts, tokens = counts.get("verdicts") or {}, counts.get("tokens") or {}
    said = sum(verdicts.values()) - verdicts.get("unjudged", 0)
    shares = [
        f"{verdicts.get(word, 0) / said:.1%}" if said else "-" for word in ("positive", "ignore")
    ]
    stored = (counts.get("from_store") or {}).get("replies", 0)
    numbers = [counts["calls"], stored, tokens.get("in", 0), tokens.get("out", 0)]
    return [
        f"{counts.get('pairs', 0):,}",
        *shares,
        *(f"{number:,}" for number in numbers),
        usd(counts.get("usd")),
    ]


# Sentences
# ----------------------------------------------------------------------------------------------------------------


def _sentences(counts: Counts) -> Iterator[str]:
    models = counts.get("models") or {}
    if models:
        names = ", ".join(
            f"{code(name)} ({replies:,})"
            for name, replies in sorted(models.items(), key=lambda item: -item[1])
        )
        yield f"Answers came from {names}{'' if len(models) == 1 else ': verdicts of different models may not be comparable'}."
    tokens = counts.get("tokens") or {}
    if tokens.get("cached") or tokens.get("reasoning"):
        cached, thoughts = tokens.get("cached", 0), tokens.get("reasoning", 0)
        yield f"Of the tokens in, {cached:,} were cached by the endpoint; of those out, {thoughts:,} were thoughts."
    yield from _without_grade(counts)
    cut = counts.get("cut") or {}
    if any(cut.values()):
        texts = (
            plural(cut.get("passages", 0), "passage"),
            plural(cut.get("queries", 0), "query", "queries"),
        )
        yield f"{' and '.join(texts)} were too long and were shown cut."
    repeat = counts.get("repeat")
    if repeat:
        same = round(repeat["same"] * repeat["pairs"])
        yield f"Asked once more, in another order, it gave the same verdict on {_share(same, repeat['pairs'])} pairs."
    if "mean_confidence" in counts:
        yield f"Its confidence is {counts['mean_confidence']:.2f} on average."


def _without_grade(counts: Counts) -> Iterator[str]:
    """Answers that were of no use, pairs that have none, and pairs that were not paid for."""
    again = counts.get("asked_again") or {}
    if sum(again.values()):
        listed = ", ".join(
            f"{count:,} {escape(why.replace('_', ' '))}" for why, count in again.items()
        )
        yield f"{plural(sum(again.values()), 'answer')} could not be used and {_were(again)} asked for again ({listed})."
    missing = {why: count for why, count in (counts.get("missing") or {}).items() if count}
    if missing:
        listed = ", ".join(
            f"{count:,} {NO_GRADE.get(why, escape(why))}" for why, count in missing.items()
        )
        yield f"{plural(sum(missing.values()), 'pair')} got no grade and {_were(missing)} ignored, by what became of the answer: {listed}."
    if counts.get("pairs_over_budget"):
        yield f"{plural(counts['pairs_over_budget'], 'pair')} {'was' if counts['pairs_over_budget'] == 1 else 'were'} not paid for."


def _were(counts: Mapping[str, int]) -> str:
    return "was" if sum(counts.values()) == 1 else "were"


def _share(hits: int, n: int) -> str:
    """A share of counted things, with Wilson's interval."""
    interval = wilson(hits, n)
    return (
        "-"
        if interval is None
        else f"{hits:,} of {n:,} ({interval['value']:.1%} [{interval['low']:.1%}, {interval['high']:.1%}])"
    )


# Canaries and places
# ------------------------------------------------------------------------------------------------------


def _canaries(counts: Counts) -> Iterator[str]:
    kinds = counts.get("canaries") or {}
    if not kinds:
        return
    meaning = {
        "stuffed": "repeats the query's words",
        "injected": "orders the judge to call it relevant",
    }
    rows = [
        [
            f"{escape(kind)}: {meaning[kind]}" if kind in meaning else escape(kind),
            _share(of["passed"], of["seen"]),
        ]
        for kind, of in kinds.items()
    ]
    yield "Planted passages that answer nothing, and how many of them it did not call negative:"
    yield table(["planted passage", "not called negative"], rows)


def _positions(counts: Counts) -> Iterator[str]:
    """Whether it matters where in a call a passage stands."""
    told = counts.get("positions") or {}
    judged, shares = told.get("judged") or [], told.get("positive_share") or []
    if len(judged) < 2:
        return
    width = -(-len(judged) // COLUMNS)
    names, cells = [], []
    for start in range(0, len(judged), width):
        here = slice(start, start + width)
        total = sum(judged[here])
        positive = sum(n * share for n, share in zip(judged[here], shares[here], strict=True))
        names.append(
            str(start + 1) if width == 1 else f"{start + 1}-{min(start + width, len(judged))}"
        )
        cells.append(f"{positive / total:.1%}" if total else "-")
    yield f"What it called positive at each place of a call, over {plural(told['calls'], 'call')} whose order was random:"
    yield table(["place", *names], [["positive", *cells]])
    if told.get("p") is not None:
        yield f"That places make no difference: {p_value(told['p'])} (Cochran's Q{', so they do' if told['p'] < SIGNIFICANT else ''})."
