"""The answer in a reply, without the reasoning that some models write before it."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["answer_text"]

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
        None if the reasoning does not end, or if it cannot be told from the answer: a second end
        without a beginning, JSON before the reasoning, several final channels.
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
