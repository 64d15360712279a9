"""The LLM judge: one coroutine per query asks, parses, repairs once, splits and votes."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any, Final

from recipekit.component import Context, PairBatch, Verdicts
from recipekit.errors import RunError
from recipekit.judges.llm_judge.counts import CountsFile, add_counts, summarize
from recipekit.judges.llm_judge.groups import Group, GroupPlan
from recipekit.judges.llm_judge.model_checks import ModelChecks
from recipekit.judges.llm_judge.query_result import Missing, QueryResult, Reading, verdicts_of
from recipekit.judges.llm_judge.reply_forms import ParsedReply
from recipekit.judges.llm_judge.requests import Repair, RequestBuilder, ResponseFormat
from recipekit.judges.llm_judge.texts import QueryTexts, TextCutter, read_queries
from recipekit.llm.budget import Budget
from recipekit.llm.client import Client
from recipekit.llm.completion import Reply, Request, RequestFailed
from recipekit.llm.pricing import Price
from recipekit.llm.reply_cache import ReplyCache
from recipekit.llm.token_counter import TokenCounter

if TYPE_CHECKING:
    from recipekit.judges.llm import LlmJudgeSpec

__all__ = ["LlmJudge"]

PAIRS_PER_YIELD: Final = 512
SECONDS_PER_YIELD: Final = 1.0

MISSING: Final[Mapping[str, Missing]] = {
    "refusal": "refused",
    "content_filter": "filtered",
    "cut": "cut",
    "empty": "unparsed",
    "too_long": "too_long",
    "bad_request": "bad_request",
    "unanswered": "unanswered",
    "unpaid": "unpaid",
}
"""Why the pairs of a failed request have no grade."""
FORMAT_WORDS: Final = ("response_format", "response format", "json_schema", "json_object", "schema")


class LlmJudge:
    """See `recipekit.judges.llm.LlmJudgeSpec`."""

    def __init__(
        self,
        spec: LlmJudgeSpec,
        context: Context,
        builder: RequestBuilder,
        response_format: ResponseFormat,
        price: Price | None,
        counter: TokenCounter,
    ) -> None:
        self.spec = spec
        self.counts: Mapping[str, Any] = {}
        """What was counted over all attempts, once everything is judged (see `summarize`)."""
        self._context, self._builder, self._form = context, builder, builder.prompt.form
        self._format, self._price, self._counter = response_format, price, counter
        self._plan = GroupPlan(
            context.seed,
            spec.passages_per_call,
            spec.votes,
            spec.repeat_share,
            spec.canary_share,
            spec.effective_temperature == 0,
        )
        self._client: Client | None = None
        self._totals: dict[str, Any] = {}
        self._checks = ModelChecks(spec, context.progress)
        self._started = time.monotonic()

    @property
    def figures(self) -> Mapping[str, float | str]:
        """What to show while judging."""
        figures: dict[str, float | str] = {}
        if self._client is not None:
            elapsed = max(time.monotonic() - self._started, 1e-3)
            figures["calls/s"] = round(self._client.calls / elapsed, 1)
            if self._client.usd:  # 0 also means that no price is known
                figures["usd"] = round(self._client.usd, 4)
            if (seconds := self._client.limiter.seconds_until_next()) >= 1:
                figures["waiting"] = f"{seconds:.0f} s"
        missing = self._totals.get("missing", {})
        paid = self._totals.get("pairs", 0) - missing.get("unpaid", 0)
        if self._totals.get("usd") and paid:
            figures["usd_a_pair"] = self._totals["usd"] / paid
        if missing.get("unparsed"):
            figures["unparsed"] = missing["unparsed"]
        return figures

    def judge(self, batches: Iterable[PairBatch]) -> Iterator[Verdicts]:
        """Stream verdicts on whole queries.

        Raises:
            RunError: The endpoint cannot be used, no reply can be read, or canaries pass more often
                than `max_canary_pass_rate`.
        """
        spending = self._context.spending
        with ExitStack() as stack:
            cache = stack.enter_context(ReplyCache(spending.calls))
            file = stack.enter_context(closing(CountsFile(self._context.scratch / "counts.sqlite")))
            self._totals = file.total()
            budget = Budget(cache, spending)
            before = {"usd": budget.charged_usd, "calls": budget.calls}
            before = file.first_value("before", before)
            runner = stack.enter_context(asyncio.Runner())
            self._client = self.spec.client(
                cache, budget, self._price, self._counter, self._context
            )
            stream = self._results(self._queries(batches))
            try:
                while results := runner.run(_next(stream)):
                    # On disk before the verdicts are: see `counts`.
                    file.write((result.texts.row, result.counts) for result in results)
                    verdicts = verdicts_of(results)
                    if verdicts is not None:
                        yield verdicts
            finally:
                runner.run(_close(stream))
            self.counts = summarize(
                file.total(),
                price_known=self._price is not None,
                usd=budget.charged_usd - before["usd"],
                calls=budget.calls - before["calls"],
                refused_usd=budget.refused_usd,
                limits_reached=budget.limits_reached,
            )
        self._context.progress.log(
            "judge.llm", model=self.spec.model, response_format=self._format, **self.counts
        )

    def _queries(self, batches: Iterable[PairBatch]) -> Iterator[QueryTexts]:
        dataset, spec = self._context.dataset, self.spec
        return read_queries(
            batches,
            TextCutter(dataset.queries, self._counter, spec.max_query_tokens),
            TextCutter(dataset.passages, self._counter, spec.max_passage_tokens),
            num_references=self._builder.num_references,
            by_verdict=spec.previous_verdicts is not None,
        )

    # Many queries
    # ----------------------------------------------------------------------------------------------

    async def _results(self, queries: Iterator[QueryTexts]) -> AsyncGenerator[list[QueryResult]]:
        """Judge queries concurrently, and yield the finished ones, several at a time.

        A query starts when fewer calls are open than may be in flight, so that memory does not grow
        with the number of queries. Results of queries with failed calls are held back until another
        call succeeds: if the endpoint is down, the run ends without them, and asks again when it
        continues.
        """
        assert self._client is not None
        self._open_calls, self._changed = 0, asyncio.Event()
        self._format_known = asyncio.Event()
        self._format_asked = False
        self._started = time.monotonic()
        running: set[asyncio.Task[QueryResult]] = set()
        ready: list[QueryResult] = []
        held: list[QueryResult] = []
        yielded_at = time.monotonic()
        try:
            while True:
                while self._open_calls < self.spec.concurrency:
                    if (texts := next(queries, None)) is None:
                        break
                    running.add(self._start(texts))
                if not running:
                    break
                await self._changed.wait()
                self._changed.clear()
                finished = [task for task in running if task.done()]
                running.difference_update(finished)
                for result in [task.result() for task in finished]:
                    self._add_to_totals(result)
                    (held if result.counts.get("failures") else ready).append(result)
                if held and not self._client.health.consecutive_failures:
                    ready += held
                    held = []
                pairs = sum(len(result.decisions) for result in ready)
                if pairs >= PAIRS_PER_YIELD or time.monotonic() > yielded_at + SECONDS_PER_YIELD:
                    if ready:
                        yield ready
                    ready, yielded_at = [], time.monotonic()
            self._client.health.check_answered(self.spec.model)
            if ready or held:
                yield ready + held
        except RunError:
            await _cancel(running)
            await self._client.drain()
            raise
        finally:
            await _cancel(running)
            await self._client.aclose()

    def _start(self, texts: QueryTexts) -> asyncio.Task[QueryResult]:
        groups = list(self._plan.groups(texts))
        self._open_calls += len(groups)
        task = asyncio.create_task(self._judge_query(texts, groups))
        task.add_done_callback(self._note_finished)
        return task

    def _note_finished(self, task: asyncio.Task[QueryResult]) -> None:
        self._changed.set()
        if not task.cancelled():
            task.exception()  # of several that fail together, only one is raised

    def _add_to_totals(self, result: QueryResult) -> None:
        add_counts(self._totals, result.counts)
        if "canaries" in result.counts:
            self._checks.check_canaries(self._totals["canaries"])

    # One query
    # ----------------------------------------------------------------------------------------------

    async def _judge_query(self, texts: QueryTexts, groups: list[Group]) -> QueryResult:
        result = QueryResult(texts, self.spec.votes, self.spec.verdict_by_grade)
        tasks = [asyncio.create_task(self._judge_call(result, group)) for group in groups]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        result.decide()
        return result

    async def _judge_call(self, result: QueryResult, group: Group) -> None:
        try:
            await self._judge_group(result, group)
        finally:
            self._open_calls -= 1
            self._changed.set()

    async def _judge_group(
        self, result: QueryResult, group: Group, *, split_refusals: bool = True
    ) -> None:
        """Ask about a group, in halves if it is too long or refused, and keep the readings."""
        try:
            request, reply = await self._ask(result, group)
        except RequestFailed as failure:
            # One passage may be what the model refuses; the others should not be lost with it.
            refused = failure.kind in ("refusal", "content_filter")
            split = failure.kind == "too_long" or (refused and split_refusals)
            if not split or len(group) == 1:
                nothing = ParsedReply((None,) * len(group), (None,) * len(group))
                self._keep(result, group, nothing, None, MISSING[failure.kind], failure.reason)
                return
            result.count(asked_again={failure.kind: 1})
            for half in group.halves():
                await self._judge_group(result, half, split_refusals=not refused)
            return
        parsed, missing = self._form.parse(reply.text, len(group)), MISSING["empty"]
        if parsed.problem is not None:
            parsed, reply, missing = await self._repair(result, group, parsed, request, reply)
        self._keep(result, group, parsed, reply, missing, reply.text)

    async def _repair(
        self, result: QueryResult, group: Group, first: ParsedReply, request: Request, reply: Reply
    ) -> tuple[ParsedReply, Reply, Missing]:
        """Ask once more, and return the better of both replies.

        Replies without any grade are not kept: another trial or run asks again.
        """
        assert self._client is not None
        result.count(asked_again={"unparsed": 1})
        repair = Repair(reply.text, first.problem or "")
        missing: Missing = "unparsed"
        try:
            second_request, second_reply = await self._ask(result, group, repair)
        except RequestFailed as failure:
            missing = MISSING[failure.kind]
        else:
            second = self._form.parse(second_reply.text, len(group))
            if not second.graded:
                self._client.forget(second_request)
            if second.graded and second.graded >= first.graded:
                return second, second_reply, missing
        if not first.graded and missing != "unpaid":
            self._client.forget(request)
        return first, reply, missing

    def _keep(
        self,
        result: QueryResult,
        group: Group,
        parsed: ParsedReply,
        reply: Reply | None,
        missing: Missing,
        text: str,
    ) -> None:
        confidences = [math.nan] * len(group)
        if reply is not None and reply.logprobs and self.spec.logprobs:
            confidences = self._form.confidences(parsed, reply.logprobs)
        readings = [
            Reading(missing=missing) if grade is None else Reading(grade, None, confidence, reason)
            for grade, confidence, reason in zip(
                parsed.grades, confidences, parsed.reasons, strict=True
            )
        ]
        result.add_readings(group, readings)
        self._checks.check_usable(parsed.graded > 0, missing, text)

    # One request
    # ----------------------------------------------------------------------------------------------

    async def _ask(
        self, result: QueryResult, group: Group, repair: Repair | None = None
    ) -> tuple[Request, Reply]:
        """The reply on a group, with its request; a cut or empty one is requested once more.

        Raises:
            RequestFailed: There is none.
        """
        await self._wait_for_format()
        response_format = self._format
        wider = False
        try:
            return await self._request(result, group, response_format, repair)
        except RequestFailed as failure:
            if _rejects_format(failure, response_format):
                self._drop_format(failure)
            else:
                result.count_answer(failure)
                if failure.kind not in ("cut", "empty"):
                    raise
                result.count(asked_again={failure.kind: 1})
                wider = failure.kind == "cut"
        finally:
            self._format_known.set()
        try:
            return await self._request(result, group, self._format, repair, wider)
        except RequestFailed as failure:
            result.count_answer(failure)
            raise

    async def _request(
        self,
        result: QueryResult,
        group: Group,
        response_format: ResponseFormat,
        repair: Repair | None,
        wider: bool = False,
    ) -> tuple[Request, Reply]:
        assert self._client is not None
        request = self._builder.build(
            result.texts, group, response_format, repair=repair, wider=wider
        )
        reply = await self._client.complete(request)
        result.count_answer(reply)
        self._checks.check_name(reply.model)
        return request, reply

    async def _wait_for_format(self) -> None:
        """Let the first request with a response format go alone, to see if it is accepted."""
        if self._format == "text" or self._format_known.is_set():
            return
        if self._format_asked:
            await self._format_known.wait()
        self._format_asked = True

    def _drop_format(self, failure: RequestFailed) -> None:
        if self._format != "text":
            self._context.progress.warn(
                f"{self.spec.model} rejects the response format ({failure.reason}); continuing "
                "without it (`response_format: text`)"
            )
        self._format = "text"


def _rejects_format(failure: RequestFailed, response_format: ResponseFormat) -> bool:
    reason = failure.reason.lower()
    named = any(word in reason for word in FORMAT_WORDS)
    return failure.kind == "bad_request" and response_format != "text" and named


async def _next(stream: AsyncGenerator[list[QueryResult]]) -> list[QueryResult] | None:
    return await anext(stream, None)


async def _close(stream: AsyncGenerator[list[QueryResult]]) -> None:
    await stream.aclose()


async def _cancel(tasks: set[asyncio.Task[QueryResult]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
