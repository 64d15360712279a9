"""litellm's record of a call, without the log entry and the cost that nothing reads."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any

from recipekit.llm.completion import Request
from recipekit.llm.litellm_import import litellm

__all__ = ["call_record"]


def call_record(request: Request, *, compute_cost: bool) -> Any:
    """The record to pass to litellm as `litellm_logging_obj`.

    With the record that litellm creates itself, building a log entry for callbacks that do not
    exist and computing the cost take a third of a call's CPU time.

    Args:
        request: What is called.
        compute_cost: Whether litellm computes the call's cost.

    Returns:
        The record, or None where this version of litellm has another record class: litellm then
        creates its own, and calls take more time.
    """
    try:
        return _record_class()(compute_cost, request)
    except (AttributeError, TypeError):
        return None


@cache
def _record_class() -> Any:
    # Defined here because importing litellm takes seconds.
    logging: Any = litellm().litellm_core_utils.litellm_logging.Logging

    class CallRecord(logging):  # type: ignore[misc]
        def __init__(self, compute_cost: bool, request: Request) -> None:
            super().__init__(
                model=request.model,
                messages=list(request.messages),
                stream=False,
                call_type="acompletion",
                start_time=datetime.now(),
                litellm_call_id=request.key,  # in its log entries only, which nothing writes
                function_id="",
            )
            self._compute_cost = compute_cost

        def claim_async_success_log(self) -> bool:
            return False  # litellm then schedules no log entry

        def response_cost_calculator(self, *args: Any, **kwargs: Any) -> float | None:
            if not self._compute_cost:
                return None
            cost: float | None = super().response_cost_calculator(*args, **kwargs)
            return cost

    return CallRecord
