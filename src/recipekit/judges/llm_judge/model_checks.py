"""Whether a model can judge at all: what ends a run, and what is worth a warning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from recipekit.component import Progress
from recipekit.errors import RunError
from recipekit.judges.llm_judge.query_result import Missing

if TYPE_CHECKING:
    from recipekit.judges.llm import LlmJudgeSpec

__all__ = ["ModelChecks"]

MIN_CANARIES: Final = 20
"""Graded canaries before their pass rate may end the run."""
MAX_UNUSABLE: Final = 20
"""Calls without a usable reply, none having had one, after which the run ends."""
ADVICE: Final[Mapping[Missing, str]] = {
    "cut": "raise `max_tokens`: a model that reasons needs thousands",
    "unparsed": "choose a model that can answer in JSON, or set `response_format`",
    "refused": "choose another model or prompt",
    "too_long": "lower `max_passage_tokens`",
}


class ModelChecks:
    """What a run's replies say about the model."""

    def __init__(self, spec: LlmJudgeSpec, progress: Progress) -> None:
        self._spec, self._progress = spec, progress
        self._models: set[str] = set()
        self._usable = self._unusable = 0

    def check_usable(self, usable: bool, missing: Missing, text: str) -> None:
        """Count a call's answer.

        Args:
            usable: Whether it had any grade.
            missing: Why it had none.
            text: The reply, or why there is none.

        Raises:
            RunError: No answer could be used so far.
        """
        if usable:
            self._usable += 1
        elif missing != "unpaid":
            self._unusable += 1
        if self._usable or self._unusable < MAX_UNUSABLE:
            return
        advice = f"; {ADVICE[missing]}" if missing in ADVICE else ""
        raise RunError(
            f"{self._spec.model}: none of {self._unusable} answers could be used, the last one is "
            f"{missing}: {' '.join(text.split())[:200]!r}{advice}",
            code="RK662",
        )

    def check_name(self, model: str) -> None:
        """Warn if the endpoint answers as another model than before."""
        if self._models and model not in self._models:
            self._progress.warn(
                f"the endpoint now answers as {model!r}, and before as "
                f"{', '.join(sorted(self._models))}: verdicts may not be comparable"
            )
        self._models.add(model)

    def check_canaries(self, kinds: Mapping[str, Mapping[str, int]]) -> None:
        """Check how many canaries of each kind have passed.

        Raises:
            RunError: More than `max_canary_pass_rate` allows.
        """
        highest = self._spec.max_canary_pass_rate
        seen, passed = (sum(kind[name] for kind in kinds.values()) for name in ("seen", "passed"))
        if highest is None or seen < MIN_CANARIES or passed / seen <= highest:
            return
        by_kind = ", ".join(
            f"{kind['passed']} of {kind['seen']} {name}" for name, kind in sorted(kinds.items())
        )
        raise RunError(
            f"{self._spec.model} let {passed / seen:.0%} of the planted passages pass ({by_kind}), "
            f"more than max_canary_pass_rate ({highest:.0%}) allows: it can be fooled. Choose a "
            "stronger model or another prompt; what was paid for is kept",
            code="RK661",
        )
