"""One call: what is asked of the model, and what is asked next when its answer cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from recipekit.judges.language_model.grouping import Group
from recipekit.judges.prompting.render import Prompt
from recipekit.judges.prompting.replies import Reading
from recipekit.llm.calls import Failure, Request

if TYPE_CHECKING:
    from recipekit.judges.language_model.readings import Readings
    from recipekit.judges.llm import LlmJudgeSpec

__all__ = ["Attempt", "Requests", "Structured", "answer_tokens", "follow_ups"]

Structured = Literal["json_schema", "json_object", "off"]

MORE_TOKENS: Final = 4
"""How many times as many tokens an answer gets that was cut."""
REASONING_TOKENS: Final[Mapping[str | None, int]] = {
    "none": 0,
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16384,
    None: 8192,
}
"""Room for a reasoning model's thoughts, by effort; they count as tokens out."""


@dataclass(frozen=True)
class Attempt:
    """One try at one group of passages."""

    readings: Readings
    """Of the query whose passages they are."""
    group: Group
    first: Reading | None = None
    """What a first answer gave, where this asks again since that could not be used."""
    answer: str = ""
    """That answer."""
    widened: bool = False
    """Whether it may have more tokens, since an answer was cut."""
    halved: bool = False
    """Whether it is half of a call that was refused."""


@dataclass(frozen=True)
class Requests:
    """Makes requests of attempts."""

    spec: LlmJudgeSpec
    prompt: Prompt
    seed: int
    reasons_first: bool
    """Whether the model reasons before it answers, and needs tokens for that."""
    thoughts: int = 0
    """Tokens that the recipe names for its thoughts."""

    def of(self, attempt: Attempt, structured: Structured) -> Request:
        """The request of an attempt; `tag` is the attempt."""
        count, texts = len(attempt.group.items), attempt.readings.texts
        messages = self.prompt.messages(
            self.seed,
            texts.query.text,
            texts.references,
            [item.text for item in attempt.group.items],
        )
        if attempt.first is not None:
            again = f"This answer cannot be used: {attempt.first.problem}. Answer again. {self.prompt.form.ask()}"
            answer = attempt.answer.encode(
                "utf-8", "replace"
            ).decode()  # half of a surrogate pair could not be sent
            messages = (
                *messages,
                {"role": "assistant", "content": answer or "(nothing)"},
                {"role": "user", "content": again},
            )
        return Request(
            self.spec.model,
            messages,
            self._sampling(attempt, count, structured),
            attempt.group.vote,
            attempt,
        )

    @property
    def room(self) -> int:
        """Tokens for the model's thoughts before an answer."""
        effort = self.spec.reasoning_effort
        return (
            max(REASONING_TOKENS[effort] or REASONING_TOKENS[None], self.thoughts)
            if self.reasons_first
            else 0
        )

    def _sampling(self, attempt: Attempt, count: int, structured: Structured) -> dict[str, Any]:
        spec = self.spec
        most = spec.max_tokens or answer_tokens(self.prompt, count, self.room)
        sampling: dict[str, Any] = {
            **spec.sampling,
            "max_tokens": most * (MORE_TOKENS if attempt.widened else 1),
        }
        if spec.told_temperature is not None:
            sampling["temperature"] = spec.told_temperature
        if spec.reasoning_effort is not None:
            sampling["reasoning_effort"] = spec.reasoning_effort
        if spec.logprobs:
            sampling["logprobs"] = True
        if structured == "json_schema":
            schema = {"name": "verdicts", "strict": True, "schema": self.prompt.form.schema(count)}
            sampling["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif structured == "json_object":
            sampling["response_format"] = {"type": "json_object"}
        return sampling


def answer_tokens(prompt: Prompt, count: int, room: int) -> int:
    """Tokens that an answer on `count` passages may have: several times what a good one has, and
    the room for thoughts before it.

    A model that dresses its answer up is not cut; only what is used is paid.
    """
    reason = 60 * getattr(prompt.form, "reasons", False)
    return 128 + (16 + reason) * count + room


def follow_ups(attempt: Attempt, failure: Failure) -> tuple[Attempt, ...]:
    """What to ask in place of an attempt that failed for good; nothing where that would not help
    either.
    """
    several = len(attempt.group.items) > 1 and attempt.first is None
    if failure.kind == "cut" and not attempt.widened:
        return (replace(attempt, widened=True),)
    if failure.kind == "too_long" and several:
        return tuple(replace(attempt, group=half) for half in attempt.group.halves())
    # One passage may be what the model, or its filter, will not speak of; the others are not to be
    # lost with it.
    if failure.kind in ("refusal", "content_filter") and several and not attempt.halved:
        return tuple(replace(attempt, group=half, halved=True) for half in attempt.group.halves())
    return ()
