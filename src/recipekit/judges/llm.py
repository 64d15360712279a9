"""The spec of the LLM judge."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
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
    Url,
)
from recipekit.errors import ComponentError
from recipekit.judges.llm_judge.prompt import (
    GRADE_VERDICTS,
    RULES,
    Prompt,
    VerdictName,
    custom_prompt,
    shipped_prompt,
)
from recipekit.llm.pricing import TokenPrice
from recipekit.records import Verdict

if TYPE_CHECKING:
    from recipekit.judges.llm_judge.requests import RequestBuilder, ResponseFormat
    from recipekit.llm.budget import Budget
    from recipekit.llm.client import Client
    from recipekit.llm.endpoint import Endpoint
    from recipekit.llm.pricing import Price
    from recipekit.llm.reply_cache import ReplyCache
    from recipekit.llm.token_counter import TokenCounter

__all__ = ["LlmJudgeSpec"]

Share = Annotated[float, Field(ge=0.0, le=1.0)]

RESERVED: Final = frozenset(
    "model messages n stream stream_options max_tokens max_completion_tokens temperature logprobs "
    "top_logprobs reasoning_effort response_format api_key api_base base_url headers extra_headers "
    "timeout num_retries max_retries tools functions mock_response fallbacks "
    "context_window_fallback_dict content_policy_fallback_dict model_list models".split()
)
"""What `litellm_params` may not contain at any depth: it has a key of its own, has no place in a
judgment, or makes calls that are not reserved in the budget."""
TEMPLATE_ARGUMENTS: Final = "chat_template_kwargs"
"""Arguments of a server's chat template become part of the prompt, and may have any name."""
CREDENTIAL: Final = re.compile(
    r"secret|password|credential|(api|access)_?key|(access|azure_ad|auth|session|bearer)_token",
    re.IGNORECASE,
)
"""Names that litellm takes as credentials (`aws_secret_access_key`, `vertex_credentials`)."""


class LlmJudgeSpec(JudgeSpec):
    """A language model decides for every (query, passage) whether it is relevant.

    Several passages share a call, in a seeded order, behind fences that no passage can end.
    `grades` maps grades to verdicts. A reply that cannot be read is asked for once more; pairs that
    are then still ungraded are ignored, and counted. Every paid reply is kept: a judge that asks
    the same questions, such as one with other `grades`, costs nothing. A judge that comes after
    another asks again where the earlier verdicts change, since other passages then share a call.
    See `docs/judging.md`.
    """

    version: ClassVar[int] = 4
    measured: ClassVar[bool] = True

    model: Annotated[str, Field(min_length=1)]
    """The model, as litellm names it: `openai/gpt-5-nano`, `anthropic/...`, `ollama/...`;
    `hosted_vllm/NAME` or `openai/NAME` with an `api_base` for a server of your own."""
    api_base: Url | None = None
    """Where the model is served. Default: the provider's own address."""
    api_key: Secret | None = None
    """The key, as `${env:NAME}`. Default: the variable that litellm reads for the provider, such as
    `OPENAI_API_KEY`."""
    headers: Headers = Field(default_factory=dict)
    """Sent with every call. A header with a credential must be `${env:NAME}`."""

    prompt: Literal["umbrela", "binary", "relevant_set", "custom"] = "umbrela"
    """`umbrela`: grades 0 to 3 (UMBRELA, arXiv 2406.06519); `binary`: 0 or 1; `relevant_set`: which
    passages are relevant, with source positives as references; `custom`: `prompt_template` or
    `prompt_file`."""
    prompt_template: str | None = None
    """A Jinja template. It must show `{{ query }}` and `{{ passages }}`, and may use `references`,
    `rules`, `reply` and `scale`. Blocks `system` and `user` make two messages."""
    prompt_file: LocalPath | None = None
    """The template, in a file."""
    grades: dict[int, VerdictName] | None = None
    """The verdict of each grade: `{0: negative, 1: ignore, 2: positive}`. Default: the prompt's own
    (umbrela: 0 negative, 1 ignore, 2 and 3 positive). A custom prompt needs it, and its keys are
    the scale."""
    explain: bool = False
    """Ask for a short reason with each grade, which is kept with the judgment. It takes five times
    as many output tokens."""
    num_references: Annotated[int, Field(ge=0)] = 1
    """How many source positives are shown to a prompt that uses `references`. Control pairs are
    never shown."""

    passages_per_call: Annotated[int, Field(ge=1, le=200)] = 10
    """Passages that are judged together. One per call takes three times the tokens and is not
    better (arXiv 2505.12570)."""
    votes: Annotated[int, Field(ge=1, le=25)] = 1
    """How often each pair is judged, each time in another order. The majority decides, a tie is an
    `ignore`, and the share of the votes is the confidence. At temperature 0 a call has at most as
    many votes as its passages have orders: one passage has one, two have two."""
    repeat_share: Share = 0.0
    """Share of the queries that are judged once more in another order, to measure consistency. It
    decides nothing."""
    canary_share: Share = 0.01
    """Share of the calls with a planted passage that answers nothing, but repeats the query's words
    or orders the judge to call it relevant."""
    max_canary_pass_rate: Share | None = None
    """The run ends if a larger share of the planted passages is called anything but negative, once
    20 are judged."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = 0.0
    """0 makes replies reproducible. Not sent to models that reason, or if null."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens that a reply may have. Default: several times what a good reply takes, and room for a
    model's reasoning."""
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high"] | None = None
    """How long a reasoning model thinks. Default: the model's choice."""
    litellm_params: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of litellm's `completion`: `top_p`, `seed`, `extra_body`."""
    response_format: Literal["auto", "json_schema", "json_object", "text"] = "auto"
    """Whether the endpoint is asked to follow a JSON schema. `auto`: if litellm knows that the
    model can. If the endpoint rejects it, the judge continues with `text`."""
    logprobs: bool = False
    """Ask for log-probabilities: the probability of a grade's tokens is the confidence. For prompts
    that grade every passage."""
    max_passage_tokens: Annotated[int, Field(ge=1)] = 512
    """Longer passages are cut, and counted. They cost more, and length alone sways judges."""
    max_query_tokens: Annotated[int, Field(ge=1)] = 256
    """Longer queries are cut, and counted."""
    tokenizer: LocalPath | None = None
    """The model's `tokenizer.json`, or its folder, for exact counts and cuts if recipekit does not
    know the model's tokenizer."""

    price: Annotated[TokenPrice, NotIdentity] | None = None
    """What the model costs, if litellm does not know it or you pay something else."""
    concurrency: Annotated[int, Field(ge=1), NotIdentity] = 32
    """The largest number of calls in flight."""
    requests_per_minute: Annotated[float, Field(gt=0), NotIdentity] | None = None
    """The endpoint's limit, if you know it. Its headers and its 429s are respected in any case."""
    tokens_per_minute: Annotated[float, Field(gt=0), NotIdentity] | None = None
    """The endpoint's limit on tokens in and out together, if you know it."""
    timeout: Annotated[float, Field(gt=0), NotIdentity] = 120.0
    """Seconds that one call may take."""
    max_attempts: Annotated[int, Field(ge=1), NotIdentity] = 5
    """Attempts at a call that fails while others succeed. A 429 does not count."""

    @model_validator(mode="after")
    def _check_prompt(self) -> Self:
        given = [
            name for name in ("prompt_template", "prompt_file") if getattr(self, name) is not None
        ]
        if self.prompt != "custom":
            if given:
                raise ValueError(
                    f"{given[0]} is for `prompt: custom`, and prompt is '{self.prompt}'"
                )
            return self
        if len(given) != 1:
            raise ValueError("prompt: custom needs either prompt_template or prompt_file")
        if not self.grades:
            raise ValueError("grades: a custom prompt needs the verdict of each of its grades")
        source = self.prompt_template
        if self.prompt_file is not None and self.prompt_file.is_file():
            source = self.prompt_file.read_text(encoding="utf-8")
        if source is not None:
            try:
                custom_prompt(source, sorted(self.grades), self.explain)
            except ValueError as error:
                raise ValueError(f"{given[0]}: {error}") from None
        return self

    @model_validator(mode="after")
    def _check_grades(self) -> Self:
        if self.grades is None or self.prompt == "custom":
            return self
        scale = set(GRADE_VERDICTS[self.prompt])
        listed = ", ".join(map(str, sorted(scale)))
        if missing := sorted(scale - set(self.grades)):
            raise ValueError(
                f"grades: the verdict of grade {missing[0]} is missing; prompt '{self.prompt}' "
                f"gives {listed}"
            )
        if unknown := sorted(set(self.grades) - scale):
            raise ValueError(
                f"grades: there is no grade {unknown[0]}; prompt '{self.prompt}' gives {listed}"
            )
        return self

    @model_validator(mode="after")
    def _check_orders(self) -> Self:
        one_order = self.passages_per_call == 1 and self.effective_temperature == 0
        for name, used in (("votes", self.votes > 1), ("repeat_share", self.repeat_share > 0)):
            if one_order and used:
                raise ValueError(
                    f"{name}: asks in another order, and one passage has only one: raise "
                    "passages_per_call, or temperature"
                )
        if self.logprobs and self.prompt == "relevant_set":
            raise ValueError(
                "logprobs: relevant_set gives passages no grade that could have a probability; "
                "use umbrela or binary"
            )
        return self

    @model_validator(mode="after")
    def _check_litellm_params(self) -> Self:
        outside_template = set(_names(self.litellm_params, except_below=TEMPLATE_ARGUMENTS))
        if reserved := sorted(RESERVED & outside_template):
            raise ValueError(
                f"litellm_params: '{reserved[0]}' is not allowed here; if the judge has a key of "
                "that name, use it"
            )
        for name in _names(self.litellm_params):
            if CREDENTIAL.search(name):
                raise ValueError(
                    f"litellm_params: '{name}' is a credential, and requests are kept on disk: set "
                    f"the variable that litellm reads instead ({name.upper()})"
                )
        return self

    def files(self) -> Mapping[str, Path]:
        """The prompt and the tokenizer, if they are files."""
        paths = {"prompt": self.prompt_file, "tokenizer": self.tokenizer}
        return {name: path for name, path in paths.items() if path is not None}

    def distributions(self) -> tuple[str, ...]:
        """What renders prompts, makes requests of them, and repairs replies."""
        return ("jinja2", "json-repair", "litellm")

    def fingerprint(self) -> Any:
        """The prompt's text, which a release of recipekit may change.

        Raises:
            ComponentError: The template cannot be read.
        """
        prompt = self._prompt()
        return {"prompt": key_of([prompt.source, RULES, prompt.form.instruction()])}

    @property
    def verdict_by_grade(self) -> dict[int, Verdict]:
        """The verdict of each grade."""
        names = GRADE_VERDICTS[self.prompt] if self.grades is None else self.grades
        return {grade: Verdict[name.upper()] for grade, name in names.items()}

    @property
    def effective_temperature(self) -> float | None:
        """The temperature that is sent; None for a model that is asked to reason."""
        return None if self._asks_to_reason else self.temperature

    @property
    def _asks_to_reason(self) -> bool | None:
        """Whether the recipe switches reasoning on or off; None if it does not mention it."""
        from recipekit.llm.reasoning import requested_reasoning

        if self.reasoning_effort is not None:
            return self.reasoning_effort != "none"
        return requested_reasoning(self.litellm_params).enabled

    def reach(self) -> None:
        """Check that the endpoint can be called, without a call.

        Raises:
            RunError: Nothing listens at `api_base`, a key is missing, or the model names no
                provider.
        """
        from recipekit.llm.reachability import check_reach

        check_reach(self.model, self._endpoint())

    def check_limit(self, max_cost_usd: float) -> None:
        """Check that the model's price is known.

        Raises:
            ComponentError: It is not.
        """
        from recipekit.llm.budget import require_price

        require_price(self.model, self._price(), max_cost_usd)

    def build(self, context: Context) -> Judge:
        """Make the judge; nothing is requested yet.

        Raises:
            ComponentError: There is a limit in USD and the price is unknown, or the prompt is not a
                valid template.
            ModelError: The tokenizer does not exist.
        """
        from recipekit.judges.llm_judge.judge import LlmJudge
        from recipekit.llm.budget import require_price
        from recipekit.llm.token_counter import token_counter

        price = self._price()
        require_price(self.model, price, context.spending.max_cost_usd)
        builder = self.request_builder(context.seed)
        counter = token_counter(self.model, self.tokenizer)
        return LlmJudge(self, context, builder, self._response_format(), price, counter)

    def estimate(self, sizes: Sizes, pairs: int) -> dict[str, float | str]:
        """Calls, tokens, money and hours, from a sample of the texts."""
        from recipekit.judges.llm_judge.estimate import estimate
        from recipekit.llm.token_counter import token_counter

        counter = token_counter(self.model, self.tokenizer)
        builder = self.request_builder(seed=0)
        return estimate(
            self, builder, self._response_format(), self._price(), counter, sizes, pairs
        )

    def client(
        self,
        cache: ReplyCache,
        budget: Budget,
        price: Price | None,
        counter: TokenCounter,
        context: Context,
    ) -> Client:
        """The client that calls the endpoint."""
        from recipekit.llm.client import Client
        from recipekit.llm.endpoint_health import FailurePolicy
        from recipekit.llm.rate_limiter import RateLimiter

        return Client(
            self._endpoint(),
            cache,
            budget,
            price,
            counter.prompt_bound,
            limiter=RateLimiter(self.concurrency, self.requests_per_minute, self.tokens_per_minute),
            policy=FailurePolicy(max_attempts=self.max_attempts),
            progress=context.progress,
            seed=context.seed,
        )

    def request_builder(self, seed: int) -> RequestBuilder:
        """What builds the requests."""
        from recipekit.judges.llm_judge.requests import RequestBuilder
        from recipekit.llm.pricing import model_facts
        from recipekit.llm.reasoning import reasons_by_default, requested_reasoning

        reasons = self._asks_to_reason
        if reasons is None:
            reasons = reasons_by_default(self.model)
        elif not reasons:
            reasons = bool(model_facts(self.model).get("thinking_always_on"))
        budget = requested_reasoning(self.litellm_params).budget
        return RequestBuilder(self, self._prompt(), seed, reasons, budget)

    def _endpoint(self) -> Endpoint:
        from recipekit.llm.endpoint import Endpoint

        return Endpoint(self.api_base, self.api_key, self.timeout, self.headers)

    def _price(self) -> Price | None:
        from recipekit.llm.pricing import price_of

        return price_of(self.model, self.price)

    def _prompt(self) -> Prompt:
        if self.prompt != "custom":
            return shipped_prompt(self.prompt, self.explain)
        try:
            source = self.prompt_template or ""
            if self.prompt_file is not None:
                source = self.prompt_file.read_text(encoding="utf-8")
            return custom_prompt(source, sorted(self.verdict_by_grade), self.explain)
        except (OSError, ValueError) as error:
            raise ComponentError(f"prompt of judge {self.model}: {error}", code="RK245") from error

    def _response_format(self) -> ResponseFormat:
        from recipekit.llm.pricing import model_facts

        if self.response_format != "auto":
            return self.response_format
        can = model_facts(self.model).get("supports_response_schema")
        return "json_schema" if can else "text"


def _names(settings: Any, *, except_below: str | None = None) -> Iterator[str]:
    """The keys of nested settings, without those below one key."""
    if isinstance(settings, Mapping):
        for name, value in settings.items():
            yield str(name)
            if name != except_below:
                yield from _names(value, except_below=except_below)
    elif isinstance(settings, list):
        for item in settings:
            yield from _names(item, except_below=except_below)
