"""The judge section of a first recipe: a margin, or a language model with a budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from recipekit.errors import RunError
from recipekit.yaml_format import dump

__all__ = ["LlmChoice", "choose_llm", "judge_section"]

BUDGET_USD: Final = 5
BUDGET_CALLS: Final = 10_000

_MARGIN: Final = """\
judge:                              # label candidates: positive, negative or ignore
  judges:
    margin:
      use: margin                   # a candidate that scores like the positive may be another
      encoder: student              # one: it is ignored
      relative_margin: 0.05         # from 95 % of the positive's score
    # An LLM reads the texts and finds the false negatives that scores cannot tell. To use one, set
    # its key, remove the `#` of the lines from `llm:` to `spending:`, and see what it costs with
    # `recipekit plan` and `recipekit judge try`.
    # llm:
    #   use: llm
    #   model: openai/gpt-5-nano
    #   passages_per_call: 10
# spending: {max_cost_usd: 5}       # calls stop before they cost more
"""

_LLM: Final = """\
judge:                              # label candidates: positive, negative or ignore
  judges:
    llm:
      use: llm                      # reads query and passage
{model}      prompt: umbrela               # grades 0 to 3: 0 negative, 1 ignore, 2 and 3 positive
      passages_per_call: 10         # one each takes three times the tokens and is not better

{spending}"""


@dataclass(frozen=True)
class LlmChoice:
    """A language model as judge."""

    model: str
    api_base: str | None = None
    has_price: bool = True
    """Whether its price is known, so that its cost can be limited."""
    note: str | None = None
    """What is missing before it can be called."""


def choose_llm(model: str, api_base: str | None = None) -> LlmChoice:
    """Look up a model; nothing is called.

    Args:
        model: The model, as litellm names it.
        api_base: Where it is served; None for the provider's own address.

    Raises:
        RunError: The name has no provider.
    """
    from recipekit.llm.endpoint import Endpoint
    from recipekit.llm.pricing import price_of
    from recipekit.llm.reachability import check_reach

    note = None
    try:
        check_reach(model, Endpoint(api_base, None, 10.0, {}))
    except RunError as error:
        if error.code == "RK652":
            raise
        note = error.message
    return LlmChoice(model, api_base, price_of(model) is not None, note)


def judge_section(llm: LlmChoice | None) -> str:
    """Return the section `judge`, and the section `spending` if a language model judges."""
    if llm is None:
        return _MARGIN
    model = _line("model", llm.model, "as litellm names it")
    if llm.api_base is not None:
        model += _line("api_base", llm.api_base, "where it is served")
    if llm.has_price:
        limit, reason = f"max_cost_usd: {BUDGET_USD}", "calls stop before they cost more"
    else:
        limit, reason = f"max_calls: {BUDGET_CALLS}", "the model's price is unknown"
    spending = f"spending: {{{limit}}}"
    return _LLM.format(model=model, spending=f"{spending:<35} # {reason}\n")


def _line(key: str, value: str, comment: str) -> str:
    written = dump({key: value}).strip()
    return f"      {written:<29} # {comment}\n"
