"""The answer in a reply: the JSON object that ends it, after the model's reasoning.

The object stands alone, in a code block or in answer tags. Text before it must end with a heading
such as "Here are the grades:", and have no brackets, which could hold another answer. A reply that
differs has no answer, and the judge asks once more: this costs less than wrong labels.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any, Final

__all__ = ["find_answer"]

MAX_REPAIRED: Final = 20_000
"""Characters. A longer malformed reply is a model that loops, and takes minutes to repair."""

_END_TOKENS: Final = re.compile(
    r"(?:(?:<\|\w{1,30}\|>|</?s>|<(?:end|start)_of_turn>|\[/?INST\])\s*)+\Z"
)
"""What a server leaves at the end of a reply if it does not remove the model's special tokens."""
_FENCE: Final = re.compile(r"(`{1,9}|~{3,9})[ \t]*\w{0,20}\Z")
"""The beginning of a code block."""
_TAG: Final = re.compile(
    r"<(?:(answer|output|result|response|json|grades)|\|begin_of_box\|)>\Z", re.IGNORECASE
)
"""The beginning of an answer. The end of GLM's box is a special token."""
_HEADING: Final = re.compile(
    r"\W*(?:(?:sure|certainly|okay|of course|so|therefore|(?:based on|after)[^:\n]{0,200},)\W+)?"
    r"(?:here (?:is|are) )?(?:(?:the|my|final|json|relevance) )*"
    r"(?:answers?|assessment|evaluation|grad(?:es?|ing)|json|judge?ments?|object|output|ratings?|"
    r"relevant passages|results?|scores?|verdicts?)"
    r"(?: (?:for|of) (?:each passage|(?:all )?(?:the )?passages))?"
    r"(?: based on[^:\n]{0,200}| in json(?: format)?)?(?: is| are)?\W*",
    re.IGNORECASE,
)
"""What may announce an answer. Other words may announce a quotation, a guess or a draft."""

_TOKEN: Final = re.compile(r"""[{}\[\]:,]|[^\s{}\[\]:,"'\u2018\u2019\u201c\u201d`\\]+""")
_TRAILING_COMMA: Final = re.compile(r",(?=\s*[}\]])")
_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_STRUCTURE: Final = re.compile(r"[{}\[\]:,]")


def find_answer(reply: str) -> dict[str, Any] | None:
    """The JSON object that is the answer of a reply (see the module's docstring).

    A malformed object (a trailing comma, single quotes) is repaired, if the repair only changes
    quotes and trailing commas.

    Returns:
        None without an answer. An object in which a key occurs twice is empty.
    """
    if reply.lstrip().startswith("{"):
        with suppress(ValueError):  # its texts may contain anything, such as a tag of reasoning
            return _loaded(reply)
    answer = _END_TOKENS.sub("", _without_reasoning(reply).strip()).strip()
    before, brace, rest = answer.partition("{")
    value = brace + rest
    for wrapper, end in ((_FENCE, "{}"), (_TAG, "</{}>")):
        if opening := wrapper.search(before.rstrip()):
            before, value = before[: opening.start()], value.rstrip()
            closing = end.format(opening[1]) if opening[1] else ""
            if not value.endswith(closing):
                return None
            value = value.removesuffix(closing)
    if not value or not _is_announcement(before.strip()):
        return None
    try:
        return _loaded(value)
    except ValueError:
        return _repaired(value)


def _is_announcement(before: str) -> bool:
    """Whether the text before an object is empty, or ends with a heading and has no brackets."""
    *_, last_sentence = re.split(r"(?<=[.!?])\s+", before)
    has_brackets = re.search(r"[<>{}\[\]]", before)
    return not before or (not has_brackets and _HEADING.fullmatch(last_sentence) is not None)


def _loaded(text: str) -> dict[str, Any] | None:
    """A JSON object; None if it is nested too deeply.

    Raises:
        ValueError: The text is not JSON.
    """
    try:
        # Strings may contain line breaks, which models forget to escape.
        value = json.loads(text, object_pairs_hook=_without_duplicates, strict=False)
    except RecursionError:
        return None
    return value if isinstance(value, dict) else None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; empty if a key occurs twice in it."""
    found = dict(pairs)
    return found if len(found) == len(pairs) else {}


def _repaired(text: str) -> dict[str, Any] | None:
    """A malformed JSON object, repaired; None if the repair did more than change quotes.

    The repair may complete a truncated object, or drop what it cannot place. Therefore its result
    must have the words, brackets, colons and commas of the text, in the same order. Texts that
    contain brackets, colons or commas could hide such a change, and are not repaired.
    """
    import json_repair

    if len(text) > MAX_REPAIRED:
        return None
    try:
        value = json_repair.loads(text, skip_json_loads=True, strict=True)
        written = json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):  # several objects, or no structure
        return None
    unchanged = _tokens(written) == _tokens(_TRAILING_COMMA.sub("", text))
    hidden = any(map(_STRUCTURE.search, _STRING.findall(written)))
    return value if isinstance(value, dict) and unchanged and not hidden else None


def _tokens(text: str) -> list[str]:
    return [token.lower() for token in _TOKEN.findall(text)]


# Reasoning
# --------------------------------------------------------------------------------------------------

_MARKER: Final = re.compile(
    r"(?P<style>[<\[\u25c1][|\uff5c]?)(?P<end>/|end_(?:of_)?)?(?:(?:begin_of|start)_|\w+:)?"
    r"(?P<name>think|thinking|thoughts?|reasoning|analysis|reflection|scratchpad)\b"
    r"[^<>\[\]\u25c1\u25b7]*[>\]\u25b7]",
    re.IGNORECASE,
)
"""The beginning or the end of reasoning, as the chat templates of different models mark it."""
_CHANNELS: Final = re.compile(
    r"<\|(?:channel|message)\|>|assistantfinal|\A\s*(?:assistant)?(?:analysis|commentary)"
)
"""The harmony format of gpt-oss, also after a server removed the special tokens."""
_FINAL_CHANNEL: Final = re.compile(
    r"<\|channel\|>\s*final\b[^{}\[\]]{0,60}?<\|message\|>|assistantfinal"
)


def _without_reasoning(reply: str) -> str:
    """The text after a model's reasoning, which is the whole reply if there is none.

    Chat templates may open the reasoning in the prompt, so that a reply only closes it. The text is
    empty if the reasoning does not end, ends several times, or has JSON before it.
    """
    if _CHANNELS.search(reply):
        _, *finals = _FINAL_CHANNEL.split(reply)
        return finals[0] if len(finals) == 1 else ""
    markers = list(_MARKER.finditer(reply))
    if not markers:
        return reply
    first, last = markers[0], markers[-1]
    is_only_end = [marker for marker in markers if marker["end"]] == [last]
    is_opened = _kind(first) == _kind(last) and "{" not in reply[: first.start()]
    return reply[last.end() :] if is_only_end and (first is last or is_opened) else ""


def _kind(marker: re.Match[str]) -> str:
    return f"{marker['style']} {marker['name'][:5]}".lower()
