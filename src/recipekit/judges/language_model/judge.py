"""The judge: streams pairs into calls, answers into readings, readings into verdicts on whole
queries.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from recipekit.component import Context, PairBatch, Verdicts
from recipekit.errors import RunError
from recipekit.judges.language_model.counts import counts_of
from recipekit.judges.language_model.grouping import Plan, QueryTexts
from recipekit.judges.language_model.queries import queries_of
from recipekit.judges.language_model.readings import Readings, verdicts_on
from recipekit.judges.language_model.requests import Attempt, Requests, Structured, follow_ups
from recipekit.judges.language_model.tally import Tally, added
from recipekit.judges.language_model.texts import ShownTexts
from recipekit.judges.language_model.votes import Decision, Missing, Read
from recipekit.judges.prompting.render import check_template
from recipekit.llm.asking import Asker
from recipekit.llm.budget import Budget
from recipekit.llm.calls import Failure, Reply, Request
from recipekit.llm.prices import Price
from recipekit.llm.store import CallStore
from recipekit.llm.tokens import TokenCounter

if TYPE_CHECKING:
    from recipekit.judges.llm import LlmJudgeSpec

__all__ = ["LlmJudge"]

PAIRS_PER_YIELD: Final = 512
SECONDS_PER_YIELD: Final = 1.0
CANARIES_TO_TELL: Final = 20
"""Canaries seen before their pass rate may stop a run: fewer say little."""
CALLS_TO_TELL: Final = 20
"""Calls without any usable answer, none having had one, after which the run stops."""

MISSING: Final[Mapping[str, Missing]] = {"refusal": "refused", "content_filter": "filtered"}
"""What a failure means for its pairs, where it is called otherwise."""
ADVICE: Final[Mapping[str, str]] = {
    "cut": "raise `max_tokens`: a model that reasons needs thousands",
    "unparsed": "choose a model that can answer in JSON, or set `structured`",
    "refused": "choose another model or prompt",
    "too_long": "lower `max_passage_tokens`",
}


class LlmJudge:
    """See `recipekit.judges.llm.LlmJudgeSpec`."""

    def __init__(
        self,
        spec: LlmJudgeSpec,
        context: Context,
        requests: Requests,
        structured: Structured,
        price: Price | None,
        counter: TokenCounter,
    ) -> None:
        self.spec, self.context, self.price, self.counter = spec, context, price, counter
        self.counts: Mapping[str, Any] = {}
        """What was counted, over all attempts, once everything is judged."""
        self._requests, self._structured = requests, structured
        self._form = requests.prompt.form
        self._references = (
            spec.references
            if "references" in check_template(requests.prompt.source, self._form)
            else 0
        )
        self._plan = Plan(
            context.seed,
            spec.passages_per_call,
            spec.votes,
            spec.repeat,
            spec.canaries,
            spec.told_temperature == 0,
        )
        self._meaning = spec.meaning
        self._asker: Asker | None = None
        self._follow_ups: deque[Attempt] = deque()
        self._outstanding = 0
        self._answered = False
        self._usable = self._unusable = 0
        self._totals: dict[str, Any] = {}
        self._models: set[str] = set()
        self._done: list[tuple[QueryTexts, list[Decision]]] = []
        self._records: list[tuple[int, Mapping[str, Any]]] = []

    @property
    def figures(self) -> Mapping[str, float | str]:
        """What to show while it judges."""
        shown = dict(self._asker.figures) if self._asker is not None else {}
        missing = self._totals.get("missing", {})
        if self._totals.get("usd") and (paid := self._totals["pairs"] - missing.get("unpaid", 0)):
            shown["usd_a_pair"] = self._totals["usd"] / paid
        if unparsed := missing.get("unparsed"):
            shown["unparsed"] = unparsed
        return shown

    def judge(self, batches: Iterable[PairBatch]) -> Iterator[Verdicts]:
        """Stream verdicts on whole queries, several at a time where several are ready.

        Raises:
            RunError: The endpoint cannot be used, no answer can be read, or canaries pass more
                often than they may.
        """
        with ExitStack() as stack:
            store = stack.enter_context(CallStore(self.context.spending.calls))
            tally = stack.enter_context(closing(Tally(self.context.scratch / "tally.sqlite")))
            self._totals = tally.total()
            budget = Budget(store, self.context.spending)
            before = tally.noted("before", {"usd": budget.spent_usd, "calls": budget.calls})
            self._asker = stack.enter_context(self._open(store, budget))
            since = time.monotonic()
            # Closed before the asker is: whoever stops listening, or an error, ends the calls in
            # flight.
            answers = stack.enter_context(closing(self._asker.answers(self._source(batches))))
            for request, answer in answers:
                try:
                    self._handle(request.tag, answer)
                except RunError as error:
                    answers.throw(error)
                if (
                    sum(len(texts.rows) for texts, _ in self._done) >= PAIRS_PER_YIELD
                    or time.monotonic() > since + SECONDS_PER_YIELD
                ):
                    yield from self._give(tally)
                    since = time.monotonic()
            yield from self._give(tally)
            usd, calls = budget.spent_usd - before["usd"], budget.calls - before["calls"]
            self.counts = counts_of(
                tally.total(), self.price is not None, usd, calls, budget.refused_usd
            )
            self.context.progress.log(
                "judge.llm", model=self.spec.model, structured=self._structured, **self.counts
            )

    def _open(self, store: CallStore, budget: Budget) -> Asker:
        spec = self.spec
        return Asker(
            spec.client(),
            store,
            budget,
            self.price,
            self.counter.prompt_at_most,
            concurrency=spec.concurrency,
            requests_per_minute=spec.requests_per_minute,
            tokens_per_minute=spec.tokens_per_minute,
            patience=spec.patience,
            progress=self.context.progress,
            seed=self.context.seed,
        )

    # Asking
    # ----------------------------------------------------------------------------------------------------------

    def _source(self, batches: Iterable[PairBatch]) -> Iterator[Request | None]:
        """Requests as there is room for them: first what follows from answers, then the next
        query's; None while neither is there.
        """
        dataset, spec = self.context.dataset, self.spec
        queries = ShownTexts(dataset.queries, self.counter, spec.max_query_tokens)
        passages = ShownTexts(dataset.passages, self.counter, spec.max_passage_tokens)
        attempts = self._attempts(
            queries_of(
                batches,
                queries,
                passages,
                references=self._references,
                by_verdict=spec.previous_verdicts is not None,
            )
        )
        while True:
            # The first request goes alone: whether the endpoint takes a response format is known
            # before many are made.
            alone = self._outstanding > 0 and not self._answered
            attempt = (
                self._follow_ups.popleft()
                if self._follow_ups
                else None
                if alone
                else next(attempts, None)
            )
            if attempt is not None:
                self._outstanding += 1
                yield self._requests.of(attempt, self._structured)
            elif self._outstanding:
                yield None
            else:
                return

    def _attempts(self, queries: Iterable[QueryTexts]) -> Iterator[Attempt]:
        for texts in queries:
            groups = list(self._plan.groups(texts))
            readings = Readings(texts, self.spec.votes, waiting=len(groups))
            for group in groups:
                yield Attempt(readings, group)

    # Answers
    # ---------------------------------------------------------------------------------------------------------

    def _handle(self, attempt: Attempt, answer: Reply | Failure) -> None:
        self._outstanding -= 1
        if isinstance(answer, Failure) and self._without_format(attempt, answer):
            return
        self._answered = True
        readings = attempt.readings
        readings.heard(answer)
        if isinstance(answer, Reply):
            self._read(readings, attempt, answer)
        elif further := follow_ups(attempt, answer):
            readings.waiting += len(further) - 1
            readings.count(asked_again={answer.kind: 1})
            self._follow_ups.extend(further)
        else:
            missing: Missing = MISSING.get(answer.kind, answer.kind)  # type: ignore[arg-type]
            self._note(readings, attempt, [None] * len(attempt.group.items), missing, answer.reason)
        if not readings.waiting:
            self._finish(readings)

    def _without_format(self, attempt: Attempt, failure: Failure) -> bool:
        """Ask again without a response format where the endpoint knows none; whether that is what
        was wrong.
        """
        words = (
            "response_format",
            "response format",
            "json_schema",
            "json_object",
            "schema",
            "structured",
        )
        known = failure.kind != "bad_request" or self._answered or self._structured == "off"
        if known or not any(word in failure.reason.lower() for word in words):
            return False
        self.context.progress.warn(
            f"{self.spec.model} takes no response format ({failure.reason}); going on without (`structured: off`)"
        )
        self._structured = "off"
        self._follow_ups.append(attempt)
        return True

    def _read(self, readings: Readings, attempt: Attempt, reply: Reply) -> None:
        self._see_model(reply)
        count = len(attempt.group.items)
        reading = self._form.read(reply.text, count)
        if attempt.first is not None:
            reading = attempt.first.corrected_by(reading)
        elif reading.problem:
            readings.count(asked_again={"unparsed": 1})
            self._follow_ups.append(replace(attempt, first=reading, answer=reply.text))
            return
        told = (
            self._form.confidences(reading, reply.chances)
            if self.spec.logprobs and reply.chances
            else [float("nan")] * count
        )
        reads = [
            Read(grade, None if grade is not None else "unparsed", confidence, reason)
            for grade, confidence, reason in zip(reading.grades, told, reading.reasons, strict=True)
        ]
        self._note(readings, attempt, reads, "unparsed", reply.text)

    def _note(
        self,
        readings: Readings,
        attempt: Attempt,
        reads: list[Read] | list[None],
        missing: Missing,
        said: str,
    ) -> None:
        """Take final readings over; where there are none, what a first answer gave, or why there is
        nothing.
        """
        first = attempt.first.grades if attempt.first is not None else [None] * len(reads)
        final = [
            read or (Read(missing=missing) if grade is None else Read(grade))
            for read, grade in zip(reads, first, strict=True)
        ]
        readings.note(attempt, final, self._meaning)
        if any(read.grade is not None for read in final):
            self._usable += 1
        elif missing != "unpaid":
            self._unusable += 1
            if not self._usable and self._unusable >= CALLS_TO_TELL:
                advice = f"; {ADVICE[missing]}" if missing in ADVICE else ""
                shown = " ".join(said.split())[:200]
                raise RunError(
                    f"{self.spec.model}: none of {self._unusable} answers could be used, the last one is {missing}: {shown!r}{advice}",
                    code="RK662",
                )

    def _see_model(self, reply: Reply) -> None:
        if self._models and reply.model not in self._models:
            others = ", ".join(sorted(self._models))
            self.context.progress.warn(
                f"the endpoint now answers as {reply.model!r}, so far as {others}: verdicts may not be comparable"
            )
        self._models.add(reply.model)

    # Verdicts
    # --------------------------------------------------------------------------------------------------------

    def _finish(self, readings: Readings) -> None:
        decisions = readings.decided(self._meaning, voted=self.spec.votes > 1)
        self._done.append((readings.texts, decisions))
        self._records.append((readings.texts.row, readings.counted))
        added(self._totals, readings.counted)
        if "canaries" in readings.counted:
            self._check_canaries()

    def _check_canaries(self) -> None:
        kinds = self._totals["canaries"]
        seen, passed = (sum(kind[what] for kind in kinds.values()) for what in ("seen", "passed"))
        most = self.spec.max_canary_pass
        if most is not None and seen >= CANARIES_TO_TELL and passed / seen > most:
            each = ", ".join(
                f"{kind['passed']} of {kind['seen']} {name}" for name, kind in sorted(kinds.items())
            )
            raise RunError(
                f"{self.spec.model} let {passed / seen:.0%} of the planted passages pass ({each}), more than max_canary_pass "
                f"({most:.0%}) allows: it can be fooled. Choose a stronger model or another prompt; what was paid for is kept",
                code="RK661",
            )

    def _give(self, tally: Tally) -> Iterator[Verdicts]:
        """The verdicts on the queries that are done.

        They are counted on disk first: see `Tally`.
        """
        done, records = self._done, self._records
        self._done, self._records = [], []
        tally.write(records)
        said = verdicts_on(done)
        if said is not None:
            yield said
