"""Whether the prose around a JSON object presents it as the model's answer.

The prose may say that the object is a quotation, a draft or a thought, or take it back. An object
that the prose does not clearly present is not read: a second request costs less than wrong labels.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["is_presented", "is_taken_back"]

_LABEL: Final = re.compile(r"(?:[^\n]*:)?[ \t*`]*\Z")
"""What may stand before the object on its line: nothing, or a label with a colon."""
_ANSWER_TAG: Final = re.compile(
    r"</?(?:answer|final_answer|output|result|response|json|grades|scores|judgments)>"
    r"|<\|(?:begin|end)_of_box\|>",  # as GLM models with reasoning mark their answers
    re.IGNORECASE,
)
_FENCE: Final = re.compile(r"(?:\n|\A)[ \t]*(?:`{3,}|~{3,})[ \t]*\w*[ \t]*\Z|(?:\n|\A)json[ \t]*\Z")
_BALANCED: Final = re.compile(r"<([a-z][\w.:-]{0,40})>[^{}]*?</\1>", re.IGNORECASE)
"""A section of an unknown kind that ends before the object."""
_MARKUP: Final = re.compile(
    r"<[|/\uff5c]?[^\W\d]|&lt;/?\w|[\u3010\u25c1\u300a]|\[/?[A-Z][A-Z _]{3,}\]"
)
"""The beginning of a tag or a special token. The object may be in an unknown kind of section."""
_THOUGHT: Final = re.compile(
    r"\W*(?:(?:my|internal|inner|initial|first)\s+)*(?:thinking|thoughts?|reasoning|scratchpad"
    r"|drafts?|brainstorm\w*|plan|analysis)(?:\s+process)?\s*(?:\W*\n|:)",
    re.IGNORECASE,
)
"""The heading of a model's thoughts, at the beginning of a reply."""
_PRESENTS: Final = re.compile(
    r"\b(?:answers?|grades?|grading|graded|scor\w+|verdicts?|judg\w+|results?|evaluations?"
    r"|evaluated|ratings?|rated|json|output|response|reply|assessments?|object|relevan\w+"
    r"|labels?|here (?:you go|it is|they are)|sure|certainly|of course|well then"
    r"|okay|ok)\b",
    re.IGNORECASE,
)
"""What a line before the object calls it."""
_QUOTING: Final = re.compile(
    r"\b(?:says?|said|quot\w+|contain\w*|claim\w*|instruct(?:s|ed|ing)|examples?|e\.g|such as"
    r"|inject\w*|reads|suppos\w+|instead of|tells?|told|asks|asked|wants?|demands?|tries|attempts?"
    r"|orders|commands|assum\w+|hypothe\w+|pretend\w*|drafts?|initial\w*|tentative\w*"
    r"|preliminary|guess\w*|naive|wrong\w*|incorrect\w*|would|could|might|if|maybe|perhaps"
    r"|alternativ\w+|option\w*)\b|'s text\b|\b(?:passage|document|text) \d+\W*\Z",
    re.IGNORECASE,
)
"""Words before an object that is not, or may not be, the answer."""
_NEGATION: Final = re.compile(
    r"\b(?:not|never|cannot|without|avoid)\b|n['\u2019]t\b", re.IGNORECASE
)
_REVISION: Final = re.compile(
    r"\b(?:wait|corrections?|corrected|on (?:second thought|reflection)|scratch that|mistake\w*"
    r"|mixed up|revis\w+|reconsider\w*|re-?evaluat\w+|re-?read\w*|should be|should have been"
    r"|sorry|oops|hmm+|actually|ignore|not my|example|inject\w*|quot\w+|obey\w*|drafts?|swap\w*"
    r"|passage says|as well|changed my mind|(?:what|that) (?:the )?(?:passage|document|text)\b)\b"
    r"|\bfinal\b[^\n]*[:=\d\[]|\A\W*(?:no|also|plus|or)\b"
    r"|^\W*(?:(?:my|the|new|second)[ ]+)*(?:answers?|grades?|results?|output|scores?)\b[^\n]*:",
    re.IGNORECASE | re.MULTILINE,
)
"""Words after an object that take it back, or announce another."""
_OTHER_LIST: Final = re.compile(
    r"""^[ \t"'`]*\[[ \t]*$|^[ \t"'`]*\[.*[\],"'`][ \t"'`]*$|^[^\n:]{0,40}:[ \t*`]*\["""
    r"""|^[^\w\n|:=]*\d[^a-z\n|:=]*$""",
    re.MULTILINE | re.IGNORECASE,
)
"""A line with a list, which may be another answer."""
_UNFINISHED: Final = re.compile(r"[\w,:;(\[{/\\=+&#-]\Z")
"""The end of a text that breaks off."""
_SENTENCE_END: Final = re.compile(r"[.!?][\"')*_\]]*\Z")


def is_presented(before: str, after: str) -> bool:
    """Whether the text before and after an object presents it as the answer."""
    line = before.rpartition("\n")[2]
    rest, _, later = after.partition("\n")
    if not _LABEL.match(_ANSWER_TAG.sub("", line)):
        return False
    if _ANSWER_TAG.sub("", rest).strip(" \t*`.;"):
        return False
    before, later = _ANSWER_TAG.sub("", before), _ANSWER_TAG.sub("", later)
    if _MARKUP.search(_BALANCED.sub("", before)) or _MARKUP.search(later):
        return False
    if _OTHER_LIST.search(before) or _OTHER_LIST.search(later):
        return False
    return _introduces(before) and _leaves(later)


def is_taken_back(remark: str) -> bool:
    """Whether a remark takes back the answer that it accompanies."""
    return _REVISION.search(remark) is not None


def _introduces(before: str) -> bool:
    """Whether the text before an object introduces an answer, or has ended before it."""
    trimmed = _FENCE.sub("", before.rstrip()).rstrip(" \t\n`*~")
    has_gap = "\n\n" in re.sub(r"[ \t`*~]", "", before[len(trimmed) :])
    paragraph = trimmed.rpartition("\n\n")[2]
    line = paragraph.rpartition("\n")[2].strip()
    if not line:
        return True
    presents = _PRESENTS.search(line) is not None
    if _QUOTING.search(paragraph) or (_THOUGHT.match(trimmed + "\n") and not presents):
        return False
    is_heading = line.startswith("#") or (line.startswith("**") and len(line) < 60)
    has_ended = has_gap and not line.endswith(":")
    if not is_heading and (has_ended or _SENTENCE_END.search(line)):
        return True
    return presents and not _NEGATION.search(line)


def _leaves(later: str) -> bool:
    """Whether the text after an object leaves it as the answer."""
    later = later.strip().removeprefix("```").removeprefix("~~~").strip()
    if not later:
        return True
    if later.count("```") % 2:
        return False
    return not _UNFINISHED.search(later) and not _REVISION.search(later)
