"""Text to terms for lexical retrieval: words, or character bigrams for scripts without spaces."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from itertools import pairwise

__all__ = ["bigrams", "normalized", "unspaced_share", "words"]

# Han with its iteration marks, kana, Thai, Lao, Myanmar, Khmer.
_UNSPACED = (
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
)
_HANGUL = "\uac00-\ud7a3"
_ASCII_WORD = re.compile(r"[a-z0-9]+")


@cache
def _marks() -> str:
    """Combining marks and the two joiners, for a character class: a word class breaks at them."""
    marks = (
        chr(code)
        for code in range(0x300, 0x20000)
        if unicodedata.category(chr(code)) in ("Mn", "Mc")
    )
    return (
        "".join(marks) + "\u200c\u200d\U000e0100-\U000e01ef"
    )  # the last range: variation selectors of Han characters


@cache
def _word() -> re.Pattern[str]:
    # A class of \w and the marks would be tried on every character: six times slower.
    return re.compile(rf"\w+(?:[{_marks()}]+\w*)*")


@cache
def _character() -> str:
    return rf"(?=[{_UNSPACED}{_HANGUL}])\w[{_marks()}]*"


@cache
def _run_or_word() -> re.Pattern[str]:
    return re.compile(rf"((?:{_character()})+)|(?:(?![{_UNSPACED}{_HANGUL}])\w[{_marks()}]*)+")


def normalized(text: str) -> str:
    """Lowercase a text and apply Unicode's NFKC, which unifies full-width letters and ligatures.

    Underscores become spaces, so that an identifier such as `read_table` is found by its words.
    """
    return (
        (text if text.isascii() else unicodedata.normalize("NFKC", text)).lower().replace("_", " ")
    )


def words(text: str) -> list[str]:
    """Split into runs of letters, digits and their combining marks.

    A single letter or digit is a word, as in Lucene: "vitamin d" keeps its "d".
    """
    text = normalized(text)
    return (_ASCII_WORD if text.isascii() else _word()).findall(text)


def bigrams(text: str) -> list[str]:
    """Split into overlapping character pairs in scripts without spaces and in Hangul, else words.

    A single character is a term of its own, and a vowel or tone mark stays with its letter.
    Lucene's CJKBigramFilter does the same for Chinese, Japanese and Korean.
    """
    text = normalized(text)
    if text.isascii():
        return _ASCII_WORD.findall(text)
    character = re.compile(_character())
    terms: list[str] = []
    for match in _run_or_word().finditer(text):
        characters = character.findall(match[0]) if match[1] else [match[0]]
        terms += map("".join, pairwise(characters)) if len(characters) > 1 else characters
    return terms


def unspaced_share(texts: Iterable[str]) -> float:
    """The share of non-space characters that belong to a script without spaces between words."""
    unspaced = re.compile(f"[{_UNSPACED}]")
    joined = "".join("".join(text.split()) for text in texts)
    return len(unspaced.findall(joined)) / max(1, len(joined))
