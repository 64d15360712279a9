"""The request of one call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from recipekit.judges.llm_judge.groups import Group
from recipekit.judges.llm_judge.prompt import Prompt, check_template
from recipekit.judges.llm_judge.texts import QueryTexts
from recipekit.llm.completion import Request

if TYPE_CHECKING:
    from recipekit.judges.llm import LlmJudgeSpec

__all__ = ["Repair", "RequestBuilder", "ResponseFormat"]

ResponseFormat = Literal["json_schema", "json_object", "text"]

WIDER: Final = 4
"""How many times as many tokens a reply gets after it was cut."""
REASONING_TOKENS: Final[Mapping[str | None, int]] = {
    "none": 0,
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16384,
    None: 8192,
}
"""Room for reasoning before the reply, by effort. Reasoning counts as output tokens."""


@dataclass(frozen=True)
class Repair:
    """A reply that could not be used."""

    reply: str
    problem: str


@dataclass(frozen=True)
class RequestBuilder:
    """Builds the requests of one judge."""

    spec: LlmJudgeSpec
    prompt: Prompt
    seed: int
    reasons: bool
    """Whether the model reasons before it replies, and needs tokens for that."""
    reasoning_budget: int = 0
    """Reasoning tokens that the recipe names."""

    @property
    def num_references(self) -> int:
        """How many references the prompt shows at most."""
        used = check_template(self.prompt.source, self.prompt.form)
        return self.spec.num_references if "references" in used else 0

    def build(
        self,
        texts: QueryTexts,
        group: Group,
        response_format: ResponseFormat,
        *,
        repair: Repair | None = None,
        wider: bool = False,
    ) -> Request:
        """The request that judges a group.

        Args:
            texts: The query of the group.
            group: The passages.
            response_format: The `response_format` of the request.
            repair: The reply to be corrected, in a second request.
            wider: Whether the reply may be longer, because it was cut.
        """
        passages = [item.text for item in group.items]
        messages = self.prompt.messages(self.seed, texts.query.text, texts.references, passages)
        if repair is not None:
            # A lone surrogate could not be sent.
            reply = repair.reply.encode("utf-8", "replace").decode() or "(nothing)"
            instruction = self.prompt.form.instruction()
            correction = (
                f"This answer cannot be used: {repair.problem}. Answer again. {instruction}"
            )
            messages += (
                {"role": "assistant", "content": reply},
                {"role": "user", "content": correction},
            )
        parameters = self._parameters(len(group), response_format, wider)
        return Request(self.spec.model, messages, parameters, group.vote)

    def reply_tokens(self, count: int) -> int:
        """Tokens that a reply on `count` passages may have: several times what a good one has.

        A model that decorates its reply is not cut; only the tokens used are billed.
        """
        if self.spec.max_tokens is not None:
            return self.spec.max_tokens
        room = 0
        if self.reasons:
            effort = REASONING_TOKENS[self.spec.reasoning_effort] or REASONING_TOKENS[None]
            room = max(effort, self.reasoning_budget)
        per_passage = 76 if self.spec.explain else 16
        return 128 + per_passage * count + room

    def _parameters(
        self, count: int, response_format: ResponseFormat, wider: bool
    ) -> dict[str, Any]:
        spec = self.spec
        parameters: dict[str, Any] = {
            **spec.litellm_params,
            "max_tokens": self.reply_tokens(count) * (WIDER if wider else 1),
        }
        if spec.effective_temperature is not None:
            parameters["temperature"] = spec.effective_temperature
        if spec.reasoning_effort is not None:
            parameters["reasoning_effort"] = spec.reasoning_effort
        if spec.logprobs:
            parameters["logprobs"] = True
        if response_format == "json_schema":
            schema = {"name": "verdicts", "strict": True, "schema": self.prompt.form.schema(count)}
            parameters["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif response_format == "json_object":
            parameters["response_format"] = {"type": "json_object"}
        return parameters
