"""A language model as judge."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from recipekit.artifacts.key import key_of
from recipekit.component import (
    Context,
    Headers,
    Judge,
    JudgeSpec,
    LocalPath,
    NotIdentity,
    Secret,
    Sizes,
    Spending,
    Url,
)
from recipekit.engines import RetryPolicy
from recipekit.errors import ComponentError
from recipekit.judges.prompting.render import RULES, SHIPPED, Prompt, Said, own, shipped
from recipekit.llm.prices import GivenPrice
from recipekit.llm.thinking import Thinking, thinking_in
from recipekit.records import Verdict

if TYPE_CHECKING:
    from recipekit.judges.language_model.requests import Requests, Structured
    from recipekit.llm.client import Client
    from recipekit.llm.endpoint import Endpoint

__all__ = ["LlmJudgeSpec"]

Share = Annotated[float, Field(ge=0.0, le=1.0)]

RESERVED: Final = frozenset(
    "model messages n stream stream_options max_tokens max_completion_tokens temperature logprobs top_logprobs reasoning_effort "
    "response_format api_key api_base base_url headers extra_headers timeout num_retries max_retries tools functions mock_response "
    "fallbacks context_window_fallback_dict content_policy_fallback_dict model_list models".split()
)
"""What `sampling` may not hold, however deep (`extra_body` reaches the endpoint as it is): it has a
key of its own, or no place in a judgment, or makes calls that no budget reserved money for."""
PROMPTED: Final = "chat_template_kwargs"
"""What a server's chat template is given makes words of the prompt, and no settings of the call;
its names are the template's own.
"""
SECRET_SETTINGS: Final = re.compile(
    r"secret|password|credential|(api|access)_?key|(access|azure_ad|auth|session|bearer)_token",
    re.IGNORECASE,
)
"""Names of what litellm takes as credentials beside `api_key` (`aws_secret_access_key`,
`azure_ad_token`, `vertex_credentials`).
"""


class LlmJudgeSpec(JudgeSpec):
    """A language model decides for every (query, passage) whether it is relevant.

    Several passages go into a call, in a seeded order, behind fences that no passage can end.
    Grades are mapped to verdicts by `grades`; an answer that cannot be read is asked for again
    once, and is then an `ignore`, counted. Every call that was ever paid is kept: a change of
    `grades`, `previous_verdicts` or anything else that asks the same questions costs nothing. Of a
    judge behind another this holds while the verdicts before it stay the same: others put other
    passages together, and so ask anew. See `docs/judging.md`.
    """

    version: ClassVar[int] = 2
    measured: ClassVar[bool] = True

    model: Annotated[str, Field(min_length=1)]
    """The model, as litellm names it: `openai/gpt-5-nano`, `anthropic/...`, `ollama/...`;
    `hosted_vllm/NAME` or `openai/NAME` with an `api_base` for a server of your own."""
    api_base: Url | None = None
    """Where the model is served; by default the provider's own address."""
    api_key: Secret | None = None
    """The key, as `${env:NAME}`; by default from the variable that litellm reads for the provider,
    `OPENAI_API_KEY` for example.
    """
    headers: Headers = Field(default_factory=dict)
    """Sent with every call. One that holds a credential must be `${env:NAME}`."""

    prompt: Literal["umbrela", "binary", "relevant_set", "own"] = "umbrela"
    """`umbrela`: grades 0 to 3 (UMBRELA, arXiv 2406.06519); `binary`: 0 or 1; `relevant_set`: which
    of the passages are relevant, with known positives as references; `own`: `prompt_text` or
    `prompt_file`."""
    prompt_text: str | None = None
    """A Jinja template of your own. It must show `{{ query }}` and `{{ passages }}`, and may use
    `references`, `rules`, `reply` and `scale`; blocks `system` and `user` make two messages."""
    prompt_file: LocalPath | None = None
    """The template, in a file."""
    grades: dict[int, Said] | None = None
    """What each grade means, as in `{0: negative, 1: ignore, 2: positive}`. By default the prompt's
    own (umbrela: 0 negative, 1 ignore, 2 and 3 positive); an own prompt needs it, and its keys are
    the scale."""
    reasons: bool = False
    """Ask for a short reason before each grade, which is kept with the judgment; five times as many
    tokens out.
    """
    references: Annotated[int, Field(ge=0)] = 1
    """How many source positives are shown to a prompt with `references`, as long as a passage each;
    those judged blind never are.
    """

    passages_per_call: Annotated[int, Field(ge=1, le=200)] = 10
    """Passages that are judged together.

    One alone takes three times the tokens, and is not better (arXiv 2505.12570).
    """
    votes: Annotated[int, Field(ge=1, le=25)] = 1
    """How often each pair is judged, each time in another order: the majority decides, a tie is an
    `ignore`, the share of the votes is the confidence. At temperature 0 a call has no more votes
    than its passages have orders: one has one, two have two."""
    repeat: Share = 0.0
    """Share of the queries that are judged once more in another order, to see how consistent the
    judge is; decides nothing.
    """
    canaries: Share = 0.01
    """Share of the calls in which a passage is planted that answers nothing, but repeats the
    query's words, or orders the judge to call it relevant."""
    max_canary_pass: Share | None = None
    """Largest share of the planted passages that may be called anything but negative; above it, the
    run stops once 20 were judged.
    """

    temperature: Annotated[float, Field(ge=0, le=2)] | None = 0.0
    """0 for answers that are the same again; left out for models that reason, and where it is null.
    """
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens that an answer may have.

    By default several times what a good one takes, and room for a reasoning model's thoughts.
    """
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high"] | None = None
    """How long a reasoning model thinks; by default its own choice."""
    sampling: dict[str, Any] = Field(default_factory=dict)
    """More for the endpoint, as litellm names it: `top_p`, `seed`, `extra_body`."""
    structured: Literal["auto", "json_schema", "json_object", "off"] = "auto"
    """Whether the endpoint is held to a JSON schema.

    `auto`: where litellm knows that the model can; answers are read tolerantly anyway.
    """
    logprobs: bool = False
    """Ask for log-probabilities: the probability of the grade's tokens is the confidence.

    For prompts that grade every passage.
    """
    max_passage_tokens: Annotated[int, Field(ge=1)] = 512
    """Where passages are cut.

    Long ones cost, and their length alone sways judges; how many were cut is counted.
    """
    max_query_tokens: Annotated[int, Field(ge=1)] = 256
    """Where queries are cut."""
    tokenizer: LocalPath | None = None
    """The model's `tokenizer.json`, or its folder: counts and cuts exactly where recipekit does not
    know the model's tokenizer.
    """

    price: Annotated[GivenPrice, NotIdentity] | None = None
    """What the model costs, where litellm does not know it."""
    concurrency: Annotated[int, Field(ge=1), NotIdentity] = 32
    """Calls in flight at most."""
    requests_per_minute: Annotated[float, Field(gt=0), NotIdentity] | None = None
    """The endpoint's limit, if you know it; its headers and its 429s are heeded in any case."""
    tokens_per_minute: Annotated[float, Field(gt=0), NotIdentity] | None = None
    """Likewise, tokens in and out together."""
    timeout: Annotated[float, Field(gt=0), NotIdentity] = 120.0
    """Seconds that one call may take."""
    attempts: Annotated[int, Field(ge=1), NotIdentity] = 6
    """Attempts at a call before the endpoint is taken for down."""

    @model_validator(mode="after")
    def _one_prompt(self) -> Self:
        given = [name for name in ("prompt_text", "prompt_file") if getattr(self, name) is not None]
        if self.prompt == "own" and len(given) != 1:
            raise ValueError("prompt: own needs prompt_text or prompt_file, one of them")
        if self.prompt != "own" and given:
            raise ValueError(f"{given[0]} is for `prompt: own`, and prompt is '{self.prompt}'")
        if self.prompt == "own" and not self.grades:
            raise ValueError("grades: an own prompt must say what each of its grades means")
        source = self.prompt_text
        if self.prompt_file is not None and self.prompt_file.is_file():
            source = self.prompt_file.read_text(encoding="utf-8")
        if source is not None:
            try:
                own(source, sorted(self.meaning), self.reasons)
            except ValueError as error:
                raise ValueError(f"{given[0]}: {error}") from None
        return self

    @model_validator(mode="after")
    def _every_grade(self) -> Self:
        if self.grades is not None and self.prompt != "own":
            scale = set(SHIPPED[self.prompt])
            if missing := sorted(scale - set(self.grades)):
                raise ValueError(
                    f"grades: what grade {missing[0]} means is missing; prompt '{self.prompt}' gives {_listed(scale)}"
                )
            if unknown := sorted(set(self.grades) - scale):
                raise ValueError(
                    f"grades: there is no grade {unknown[0]}; prompt '{self.prompt}' gives {_listed(scale)}"
                )
        if self.votes > 1 and self.passages_per_call == 1 and self.told_temperature == 0:
            raise ValueError(
                "votes: each asks in another order, and one passage has none: raise passages_per_call, or temperature"
            )
        if self.repeat and self.passages_per_call == 1 and self.told_temperature == 0:
            raise ValueError(
                "repeat: it asks in another order, and one passage has none: raise passages_per_call, or temperature"
            )
        if self.logprobs and self.prompt == "relevant_set":
            raise ValueError(
                "logprobs: relevant_set gives passages no grade whose probability could be told; use umbrela or binary"
            )
        return self

    @model_validator(mode="after")
    def _nothing_twice(self) -> Self:
        if taken := sorted(RESERVED.intersection(_names(self.sampling, but_below=PROMPTED))):
            raise ValueError(
                f"sampling: '{taken[0]}' may not stand here; where it is a judge's own key, use that"
            )
        return self

    @model_validator(mode="after")
    def _no_written_credentials(self) -> Self:
        for name in _names(self.sampling):
            if SECRET_SETTINGS.search(name):
                variable = "set the variable that litellm reads instead"
                raise ValueError(
                    f"sampling: '{name}' is a credential, and what is asked is kept on disk: {variable} ({name.upper()})"
                )
        return self

    def files(self) -> Mapping[str, Path]:
        """The prompt and the tokenizer, where they are files."""
        return {
            name: path
            for name, path in (("prompt", self.prompt_file), ("tokenizer", self.tokenizer))
            if path is not None
        }

    def fingerprint(self) -> Any:
        """The prompt's words, which a release of recipekit may change: the template, the rules, and
        how an answer is asked for.

        Raises:
            ComponentError: The template cannot be read.
        """
        prompt = self._prompt()
        return {"prompt": key_of([prompt.source, RULES, prompt.form.ask()])}

    @property
    def meaning(self) -> dict[int, Verdict]:
        """Verdicts by grade."""
        said = SHIPPED[self.prompt] if self.grades is None else self.grades
        return {grade: Verdict[word.upper()] for grade, word in said.items()}

    @property
    def told_temperature(self) -> float | None:
        """The temperature that is asked for.

        None for a model that is to think, which may not be told one.
        """
        return None if self._thinking.asked else self.temperature

    @property
    def _thinking(self) -> Thinking:
        """What the recipe says of thinking, by `reasoning_effort` or in `sampling`."""
        told = thinking_in(self.sampling)
        return (
            told
            if self.reasoning_effort is None
            else replace(told, asked=self.reasoning_effort != "none")
        )

    @property
    def patience(self) -> RetryPolicy:
        """How long to go on asking an endpoint that does not serve."""
        return RetryPolicy(attempts=self.attempts)

    def reach(self) -> None:
        """See that the model can be asked, without asking it.

        Raises:
            RunError: Nobody listens at `api_base`, a key is missing, or the model names no
                provider.
        """
        from recipekit.llm.reach import check_reach

        check_reach(self.model, self._endpoint())

    def check_limit(self, max_cost_usd: float) -> None:
        """See that the model's price is known.

        Raises:
            ComponentError: It is not.
        """
        from recipekit.llm.budget import require_price
        from recipekit.llm.prices import price_of

        require_price(
            self.model, price_of(self.model, self.price), Spending(max_cost_usd=max_cost_usd)
        )

    def build(self, context: Context) -> Judge:
        """Make the judge; nothing is asked yet.

        Raises:
            ComponentError: There is a limit in USD and no price is known, or the prompt is no
                template.
            ModelError: There is no such tokenizer.
        """
        from recipekit.judges.language_model.judge import LlmJudge
        from recipekit.llm.budget import require_price
        from recipekit.llm.prices import price_of
        from recipekit.llm.tokens import counter

        price = price_of(self.model, self.price)
        require_price(self.model, price, context.spending)
        requests = self._requests(context.seed)
        return LlmJudge(
            self, context, requests, self._structured(), price, counter(self.model, self.tokenizer)
        )

    def estimate(self, sizes: Sizes, pairs: int) -> dict[str, float | str]:
        """Calls, tokens, money and hours, from a sample of the texts; what is a guess is said."""
        from recipekit.judges.language_model.estimate import estimated
        from recipekit.llm.prices import price_of
        from recipekit.llm.tokens import counter

        price = price_of(self.model, self.price)
        tokens = counter(self.model, self.tokenizer)
        return estimated(self, self._requests(0), self._structured(), price, tokens, sizes, pairs)

    def client(self) -> Client:
        """What asks the endpoint."""
        from recipekit.llm.client import Client

        return Client(self._endpoint())

    def _endpoint(self) -> Endpoint:
        from recipekit.llm.endpoint import Endpoint

        return Endpoint(self.api_base, self.api_key, self.timeout, self.headers)

    def _requests(self, seed: int) -> Requests:
        from recipekit.judges.language_model.requests import Requests
        from recipekit.llm.prices import known_of, reasons_unasked

        told = self._thinking
        always = bool(known_of(self.model).get("thinking_always_on"))
        thinks = reasons_unasked(self.model) if told.asked is None else told.asked or always
        return Requests(self, self._prompt(), seed, reasons_first=thinks, thoughts=told.budget)

    def _prompt(self) -> Prompt:
        if self.prompt != "own":
            return shipped(self.prompt, self.reasons)
        try:
            source = (
                self.prompt_text
                if self.prompt_file is None
                else self.prompt_file.read_text(encoding="utf-8")
            )
            return own(source or "", sorted(self.meaning), self.reasons)
        except (OSError, ValueError) as error:
            raise ComponentError(f"prompt of judge {self.model}: {error}", code="RK245") from error

    def _structured(self) -> Structured:
        from recipekit.llm.prices import known_of

        if self.structured != "auto":
            return self.structured
        return "json_schema" if known_of(self.model).get("supports_response_schema") else "off"


def _names(settings: Any, *, but_below: str | None = None) -> Iterator[str]:
    """The keys of nested settings, without those below one key."""
    if isinstance(settings, Mapping):
        for name, value in settings.items():
            yield str(name)
            if name != but_below:
                yield from _names(value, but_below=but_below)
    elif isinstance(settings, list):
        for item in settings:
            yield from _names(item, but_below=but_below)


def _listed(scale: set[int]) -> str:
    return ", ".join(map(str, sorted(scale)))
