"""Characters that look like others or are invisible, and break a key or a value unnoticed.

They come with text that was copied from a web page, a chat or a word processor: no-break spaces,
zero-width spaces, curly quotes, full-width punctuation, and letters of other alphabets.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

__all__ = [
    "LookAlike",
    "broken_plain_text",
    "first_invisible",
    "first_lookalike",
    "first_misleading",
    "plain",
    "without_invisible",
]

_LETTERS: Final = {
    **dict(zip("асԁеһіјкӏорԛѕуԝх", "acdehijklopqsywx", strict=True)),
    **dict(zip("АВЕНІЈКМОРЅТХ", "ABEHIJKMOPSTX", strict=True)),
    **dict(zip("αικνορτυχ", "aikvoptux", strict=True)),
    **dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABEZHIKMNOPTYX", strict=True)),
    **dict(zip("ıɡ", "ig", strict=True)),
}
"""Cyrillic, Greek and other letters, with the Latin letters that they look like."""
_PUNCTUATION: Final = {
    **dict.fromkeys("“”„‟«»″〝〞", '"'),
    **dict.fromkeys("‘’‚‛′´", "'"),
    **dict.fromkeys("‐‑‒–—−", "-"),
    **dict.fromkeys("ː∶˸", ":"),
    "、": ",",
    "＿": "_",
}
_WIDTHLESS: Final = "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
_SPACES: Final = "\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_INVISIBLE: Final = f"[{_WIDTHLESS}{_SPACES}]"
# A joiner (U+200C, U+200D) or a mark of direction belongs to the text of some scripts.
_BREAKS_TEXT: Final = (
    f"^{_INVISIBLE}|{_INVISIBLE}$|[\u00ad\u200b\u2060\ufeff]"
    f"|(?<=^-)[{_SPACES}]|(?<=:)[{_SPACES}]|[{_SPACES}](?=#)"
)
"""Patterns, which `re` compiles when a text that is not ASCII needs them."""


@dataclass(frozen=True)
class LookAlike:
    """A character of a text that is not what it seems to be."""

    index: int
    """Its position in the text, from 0."""
    character: str
    looks_like: str
    """The ASCII character that was probably meant; empty for an invisible one."""

    @property
    def remedy(self) -> str:
        """What to do about an invisible character."""
        return "use an ordinary space" if self.looks_like == " " else "remove it"

    def __str__(self) -> str:
        """For example: 'о' (U+043E, Cyrillic small letter o) is not 'o'."""
        code = f"U+{ord(self.character):04X}"
        name = unicodedata.name(self.character, "no name").lower()
        for script in ("cyrillic", "greek", "latin"):
            name = name.replace(script, script.capitalize())
        if self.looks_like in ("", " "):
            kind = "an invisible character" if self.looks_like == "" else "not an ordinary space"
            return f"{code} ({name}) is {kind}"
        return f"'{self.character}' ({code}, {name}) is not '{self.looks_like}'"


def _meaning(character: str) -> str | None:
    """Return the ASCII text that a character stands for; None if it looks like itself."""
    if character.isascii():
        return None
    if re.match(_INVISIBLE, character):
        return "" if character in _WIDTHLESS else " "
    found = _LETTERS.get(character) or _PUNCTUATION.get(character)
    if found:
        return found
    # Full-width and mathematical forms.
    simple = unicodedata.normalize("NFKC", character)
    return simple if simple.isascii() and len(simple) == 1 else None


def plain(text: str) -> str:
    """Return a text with every look-alike replaced by what it looks like, without outer quotes."""
    meant = (_meaning(character) for character in text)
    replaced = "".join(
        character if meaning is None else meaning
        for character, meaning in zip(text, meant, strict=True)
    )
    return replaced.strip(" \"'")


def without_invisible(text: str) -> str:
    """Return a text without invisible characters, with ordinary spaces inside only."""
    return re.sub(_INVISIBLE, lambda found: _meaning(found[0]) or "", text).strip()


def first_lookalike(text: str) -> LookAlike | None:
    """Return the first look-alike of a text that would be ASCII without them.

    A text in Cyrillic has letters that look like Latin ones, but is what it seems to be.
    """
    if text.isascii() or not plain(text).isascii():
        return None
    return _first(text)


def first_invisible(text: str) -> LookAlike | None:
    """Return the first invisible character of a text, or space that is not an ordinary one."""
    found = None if text.isascii() else re.search(_INVISIBLE, text)
    return LookAlike(found.start(), found[0], _meaning(found[0]) or "") if found else None


def broken_plain_text(text: str) -> LookAlike | None:
    """Return the first invisible character that changes what an unquoted text means.

    A no-break space between words is part of the text. At its ends, or next to a `-`, `:` or `#`,
    it was meant as an ordinary one.
    """
    found = None if text.isascii() else re.search(_BREAKS_TEXT, text)
    return LookAlike(found.start(), found[0], _meaning(found[0]) or "") if found else None


def first_misleading(line: str) -> LookAlike | None:
    """Return the first space or punctuation mark of a line that YAML takes for text."""
    content = re.split(r"(?:^|\s)#", line, maxsplit=1)[0]
    return _first(content, letters=False)


def _first(text: str, *, letters: bool = True) -> LookAlike | None:
    for index, character in enumerate(text):
        meaning = _meaning(character)
        if meaning is not None and (letters or not meaning.isalnum()):
            return LookAlike(index, character, meaning)
    return None
