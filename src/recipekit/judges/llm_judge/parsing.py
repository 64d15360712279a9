"""The JSON in a reply: after the model's reasoning, alone, in prose or a code block, or malformed.

A reply that can be read in two ways is not read at all: the judge asks once more.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from recipekit.judges.llm_judge.presentation import is_presented

__all__ = ["FoundJson", "find_json"]

MAX_REPAIRED: Final = 20_000
"""Characters. A longer malformed reply is a model that loops, and takes minutes to repair."""

_FENCED: Final = re.compile(r"(`{3,}|~{3,})[ \t]*\w*[ \t]*\n(.*)\n[ \t]*\1", re.DOTALL)
_TAGGED: Final = re.compile(
    r"<(answer|final_answer|output|result|response|json|grades|scores|judgments)>(.*)</\1>",
    re.DOTALL | re.IGNORECASE,
)
_END_TOKENS: Final = re.compile(
    r"(?:(?:<\|\w{1,30}\|>|</?s>|<(?:end|start)_of_turn>|\[/?INST\])\s*)+\Z"
)
"""What a server leaves at the end of a reply if it does not remove the model's special tokens."""

_PUNCTUATION: Final = re.compile(r"""[{}\[\]:,]|[^\s{}\[\]:,"'\u2018\u2019\u201c\u201d`\\]+""")
_TRAILING_COMMA: Final = re.compile(r",(?=\s*[}\]])")
_STRUCTURE: Final = re.compile(r"[{}\[\]:,]")


@dataclass(frozen=True)
class FoundJson:
    """The only JSON object or array of a reply."""

    value: Any
    """A dict or a list."""
    around: str
    """The text before and after it."""


def find_json(reply: str) -> FoundJson | None:
    """The only JSON object of a reply, or the array that a reply consists of.

    The model's reasoning is not part of its reply (see `answer_text`). In prose, an object must
    have its own lines, or follow a label on its line, and the prose must present it as the answer
    (see `is_presented`). A malformed object (a trailing comma, single quotes) is repaired, if the
    repair only changes quotes and trailing commas.

    Returns:
        None if there is no JSON, if there are several objects, if a key occurs twice, or if the
        object may not be the answer.
    """
    whole = _unwrapped(reply)
    if (value := _loaded(whole, repair=False)) is not None:
        return FoundJson(value, "")
    answer = answer_text(reply)
    if answer is None:
        return None
    whole = _unwrapped(answer)
    if whole[:1] in ("{", "[") and (value := _loaded(whole)) is not None:
        return FoundJson(value, "")
    start, end = whole.find("{"), whole.rfind("}")
    if start < 0 or end < start:
        return None
    before, after = whole[:start], whole[end + 1 :]
    if not is_presented(before, after):
        return None
    value = _loaded(whole[start : end + 1])
    return FoundJson(value, f"{before}\n{after}") if isinstance(value, dict) else None


def _unwrapped(text: str) -> str:
    """The text without special tokens, code fence, tags and emphasis around all of it."""
    text = _END_TOKENS.sub("", text.strip()).strip()
    for wrapper in (_TAGGED, _FENCED):
        if match := wrapper.fullmatch(text):
            text = match[2].strip()
    return text.strip("`* \t\n\ufeff\u200b")


class _DuplicateKey(Exception):
    """A key occurs twice in one object."""


def _loaded(text: str, *, repair: bool = True) -> dict[str, Any] | list[Any] | None:
    """A JSON object or array, repaired if malformed."""
    try:
        # Strings may contain line breaks, which models forget to escape.
        value = json.loads(text, object_pairs_hook=_without_duplicates, strict=False)
    except _DuplicateKey:
        return None
    except (ValueError, RecursionError):
        value = _repaired(text) if repair else None
    return value if isinstance(value, dict | list) else None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _DuplicateKey
    return found


def _repaired(text: str) -> Any:
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
    structure = json.dumps(_without_texts(value))
    same_words = _tokens(written) == _tokens(_TRAILING_COMMA.sub("", text))
    same_structure = _STRUCTURE.findall(structure) == _STRUCTURE.findall(written)
    return value if same_words and same_structure else None


def _tokens(text: str) -> list[str]:
    return [token.lower() for token in _PUNCTUATION.findall(text)]


def _without_texts(value: Any) -> Any:
    """The same structure, with numbers instead of keys and other values."""
    if isinstance(value, dict):
        return {index: _without_texts(item) for index, item in enumerate(value.values())}
    if isinstance(value, list):
        return [_without_texts(item) for item in value]
    return 0


# Reasoning
# ---------------------------------------------------------------------------------------------

_NAMES: Final = "think|thinking|thoughts?|reasoning|analysis|reflection|scratchpad"
_MARKER: Final = re.compile(
    rf"<(?P<tag_end>/)?(?:\w+:)?(?P<tag>{_NAMES})\b[^<>]*>"
    rf"|\[(?P<bracket_end>/)?(?P<bracket>{_NAMES})\]"
    r"|◁(?P<kimi_end>/)?(?P<kimi>think)▷"
    rf"|<[|\uff5c](?:(?:begin_of|start)|(?P<special_end>end_of|end))_(?P<special>{_NAMES})[|\uff5c]>",
    re.IGNORECASE,
)
"""The beginning or the end of reasoning, as the chat templates of different models mark it."""

_CHANNEL: Final = re.compile(r"<\|(?:channel|message)\|>")
_FINAL_CHANNEL: Final = re.compile(r"<\|channel\|>\s*final\b[^{}\[\]]{0,60}?<\|message\|>")
_MESSAGE_END: Final = re.compile(r"<\|(?:end|return|call)\|>")
_BARE_CHANNEL: Final = re.compile(r"\s*(?:assistant)?(?:analysis|commentary)")
"""The name of a channel after a server removed the special tokens around it."""
_BARE_FINAL: Final = "assistantfinal"


def answer_text(reply: str) -> str | None:
    """The text after a model's reasoning, which is the whole reply if there is none.

    Chat templates may open the reasoning in the prompt, so that a reply only closes it.

    Returns:
        None if the reasoning does not end, or if the answer cannot be separated from it: a second
        end without a beginning, JSON before the reasoning, several final channels.
    """
    if _CHANNEL.search(reply):
        return _final_channel(reply)
    if _BARE_FINAL in reply or _BARE_CHANNEL.match(reply):
        parts = reply.split(_BARE_FINAL)
        return parts[1] if len(parts) == 2 else None
    return _after_blocks(reply)


def _final_channel(reply: str) -> str | None:
    """The only final message of a reply in the harmony format of gpt-oss."""
    finals = list(_FINAL_CHANNEL.finditer(reply))
    if len(finals) != 1:
        return None
    answer = reply[finals[0].end() :]
    end = _MESSAGE_END.search(answer)
    if end is not None and answer[end.end() :].strip():
        return None
    answer = answer if end is None else answer[: end.start()]
    return None if _CHANNEL.search(answer) else answer


def _after_blocks(reply: str) -> str | None:
    opened: str | None = None
    ended = False
    start = 0
    for marker in _MARKER.finditer(reply):
        kind, is_end = _kind(marker)
        if not is_end and opened is None:
            if "{" in reply[start : marker.start()]:
                return None
            opened = kind
        elif is_end and opened is None and ended:
            return None
        elif is_end and opened in (None, kind):
            opened, ended, start = None, True, marker.end()
    return None if opened else reply[start:]


def _kind(marker: re.Match[str]) -> tuple[str, bool]:
    """What a marker delimits, and whether it is the end of it."""
    for style in ("tag", "bracket", "kimi", "special"):
        if name := marker[style]:
            stem = name.lower().removesuffix("s").removesuffix("ing")
            return f"{style} {stem}", marker[f"{style}_end"] is not None
    raise AssertionError(marker)
