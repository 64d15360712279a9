"""Which member of a reply's JSON holds the grades, and what it says of each passage.

Members are identified by name. Two members that could hold the grades, or two values that could be
the grade of one passage, mean that there is no grade.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

__all__ = [
    "ECHO_NAMES",
    "REASON_NAMES",
    "graded_items",
    "only_member",
    "other_candidates",
    "passage_number",
    "stated_grade",
]

HOLDER_NAMES: Final = frozenset(
    "grades scores verdicts judgments judgements passages results ratings labels evaluations "
    "answer answers result response output".split()
)
"""Names of the member that holds all grades, where they are not at the top level."""
GRADE_NAMES: Final = frozenset("grade score relevance verdict label rating".split())
FLAG_NAMES: Final = frozenset("relevant is_relevant".split())
"""Names of a passage's grade where the grade is yes or no."""
NUMBER_NAMES: Final = frozenset("passage number id index passage_id passage_number".split())
REASON_NAMES: Final = frozenset("reason reasoning explanation justification rationale".split())
RIVAL_NAMES: Final = frozenset(
    "final final_grade final_grades grade_final corrected correction relevancy irrelevant "
    "not_relevant relevant_passages relevance_score relevance_grade relevance_label decision "
    "judgment judgement answer class category match positive negative".split()
)
"""Names of members that say something about relevance, in any words."""
HARMLESS_NAMES: Final = frozenset(
    "confidence confidences certainty probability probabilities rank ranks ranking order reasons "
    "explanations rationales comment comments note notes summary count total query model "
    "thoughts passage_text text title quote evidence remark remarks task query_id".split()
)
"""Names of members that hold no grades, with any value."""
ECHO_NAMES: Final = frozenset("query passage_text text title quote evidence".split())
"""Names of members that repeat a text of the prompt."""
CLAIMS: Final = HOLDER_NAMES | GRADE_NAMES | FLAG_NAMES | RIVAL_NAMES
DEEPEST_HOLDER: Final = 3
SHORTEST_REMARK: Final = 3
"""Words."""

_NUMBER: Final = re.compile(
    r"\s*[\[(#\"']{0,2}(?:passage[\s_#:.-]{0,3})?(\d{1,9})[\])\"'.:]{0,2}\s*", re.IGNORECASE
)


def graded_items(value: Any, depth: int = 0) -> dict[int, Any] | None:
    """What a reply says of each passage, by passage number.

    Read are `{"1": ...}`, a list of objects with a passage number, and an object with one of them
    in a member named like a holder of grades.

    Returns:
        None if there are no grades, if two members could hold them, or if a number occurs twice.
    """
    if isinstance(value, list):
        return _listed(value)
    if not isinstance(value, Mapping) or depth > DEEPEST_HOLDER:
        return None
    numbered = {key: number for key in value if (number := passage_number(key)) is not None}
    holders = [key for key in value if _name(key) in HOLDER_NAMES and key not in numbered]
    if other_candidates(value, [*numbered, *holders]):
        return None
    if numbered and not holders:
        return _by_number([(number, value[key]) for key, number in numbered.items()])
    if len(holders) == 1 and not numbered:
        return graded_items(value[holders[0]], depth + 1)
    return None


def other_candidates(value: Mapping[str, Any], known: Collection[str]) -> list[str]:
    """The members, except the known ones, that could hold grades.

    A sentence without numbers under an unknown name is a remark. A shorter text, such as "no" or
    "draft", a number, a flag, a list or an object is not.
    """
    return [
        key
        for key, item in value.items()
        if key not in known and _name(key) not in HARMLESS_NAMES | REASON_NAMES
        if _name(key) in CLAIMS or not (item is None or _is_remark(item))
    ]


def _is_remark(item: Any) -> bool:
    if not isinstance(item, str):
        return False
    return len(item.split()) >= SHORTEST_REMARK and not any(map(str.isdigit, item))


def stated_grade(item: Any, *, flags: bool) -> Any:
    """The only value of an item that can be its grade; None if there are several or none.

    Args:
        item: What a reply says of one passage: a grade, or an object with a grade.
        flags: Whether `{"relevant": true}` states a grade.
    """
    if not isinstance(item, Mapping):
        return item
    names = GRADE_NAMES | FLAG_NAMES if flags else GRADE_NAMES
    stated = [key for key in item if _name(key) in names]
    numbers = [key for key in item if _name(key) in NUMBER_NAMES]
    if len(stated) != 1 or other_candidates(item, [*stated, *numbers]):
        return None
    return item[stated[0]]


def only_member(value: Any, names: Collection[str]) -> Any:
    """The value of the only member with one of these names; None if there is not exactly one."""
    if not isinstance(value, Mapping):
        return None
    values = [item for key, item in value.items() if _name(key) in names]
    return values[0] if len(values) == 1 else None


def passage_number(value: Any) -> int | None:
    """The number in `3`, `"3"`, `"passage 3"` or `"[3]"`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str):
        return None
    if len(value) < 10 and value.isdecimal():  # nearly always, and much faster
        return int(value)
    match = _NUMBER.fullmatch(value)
    return int(match[1]) if match else None


def _listed(items: Sequence[Any]) -> dict[int, Any] | None:
    numbered = []
    for item in items:
        number = passage_number(only_member(item, NUMBER_NAMES))
        if number is None:
            return None
        numbered.append((number, item))
    return _by_number(numbered)


def _by_number(numbered: Sequence[tuple[int, Any]]) -> dict[int, Any] | None:
    """None if a number occurs twice, or if an item names another passage."""
    for number, item in numbered:
        own = (
            []
            if not isinstance(item, Mapping)
            else [
                passage_number(value) for key, value in item.items() if _name(key) in NUMBER_NAMES
            ]
        )
        if any(other is not None and other != number for other in own):
            return None
    items = dict(numbered)
    return items if len(items) == len(numbered) else None


@lru_cache(maxsize=1024)
def _name(key: str) -> str:
    return re.sub(r"[\s-]+", "_", key.strip().lower())
