"""BM25 without a server, by bm25s with Snowball stemmers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field, field_validator

from recipekit.component import Context, Retriever, RetrieverSpec
from recipekit.retrievers.estimates import bm25_work
from recipekit.suggestions import did_you_mean

if TYPE_CHECKING:
    from pathlib import Path

    from recipekit.component import Sizes
    from recipekit.retrievers.bm25_index import Analysis

__all__ = ["LANGUAGES", "STEMMERS", "STOP_LISTS", "UNSPACED", "Bm25Spec"]

STEMMERS: Final = (
    "arabic", "armenian", "basque", "catalan", "czech", "danish", "dutch", "dutch_porter",
    "english", "esperanto", "estonian", "finnish", "french", "german", "greek", "hindi",
    "hungarian", "indonesian", "irish", "italian", "lithuanian", "nepali", "norwegian",
    "persian", "polish", "porter", "portuguese", "romanian", "russian", "serbian", "sesotho",
    "spanish", "swedish", "tamil", "turkish", "yiddish",
)  # fmt: skip
"""Snowball's algorithms, listed here so that a recipe is validated without PyStemmer."""
STOP_LISTS: Final = (
    "danish", "dutch", "english", "french", "german", "italian", "norwegian", "portuguese",
    "russian", "spanish", "swedish", "turkish",
)  # fmt: skip
"""Languages with a list of stop words in bm25s (English: Lucene's 33)."""
UNSPACED: Final = ("burmese", "chinese", "japanese", "khmer", "lao", "thai")
"""Languages without spaces between words."""
LANGUAGES: Final = (*sorted({*STEMMERS, *UNSPACED, "korean"} - {"porter", "dutch_porter"}), "none")
UNSPACED_SHARE: Final = 0.3
"""Share of characters of scripts without spaces above which splitting into words causes a
warning."""
SAMPLE: Final = 1000
"""Passages sampled for that."""


def _one_of(value: str, choices: tuple[str, ...], hint: str) -> str:
    if value not in choices:
        raise ValueError(
            f"unknown '{value}'.{did_you_mean(value, choices)} "
            f"Choose from {', '.join(choices)}. {hint}"
        )
    return value


class Bm25Spec(RetrieverSpec):
    """BM25 over title and text without a server, for up to about a million passages.

    Scores are Lucene's (bm25s, "BM25S: Orders of magnitude faster lexical search via eager sparse
    scoring", arXiv 2407.03618): the sum over the query's terms t of idf(t) * tf / (tf + k1 * (1 - b
    + b * length / mean length)), with idf(t) = ln(1 + (N - df + 0.5) / (df + 0.5)). Text is
    lowercased, brought to Unicode form NFKC and split into runs of letters and digits. A query
    without a term of the corpus retrieves nothing.
    """

    k1: float = Field(default=0.9, ge=0, allow_inf_nan=False)
    """Term-frequency saturation. 0.9 is the value of Anserini's published baselines."""
    b: float = Field(default=0.4, ge=0, le=1)
    """Length normalization, 0 to 1. 0.4 is Anserini's value."""
    language: str = Field(default="english", json_schema_extra={"enum": list(LANGUAGES)})
    """The language of the passages. It decides stemmer, stop words and tokenization; `none` has no
    stemmer and no stop words."""
    stemmer: str = Field(
        default="language", json_schema_extra={"enum": ["language", "none", *STEMMERS]}
    )
    """The Snowball stemmer: the language's own if it has one, `none`, or one by name (`porter` is
    the older of the two for English)."""
    stop_words: Literal["language", "none"] | tuple[str, ...] = "language"
    """Stop words to remove: the language's list if bm25s has one, `none`, or your own list."""
    tokenization: Literal["words", "bigrams"] | None = None
    """What a term is: `words`, or `bigrams`, overlapping character pairs for scripts without
    spaces. By default the language decides: bigrams for burmese, chinese, japanese, khmer, lao and
    thai. Choose `words` if a segmenter has already put spaces between the words."""

    @field_validator("language")
    @classmethod
    def _check_language(cls, value: str) -> str:
        return _one_of(value, LANGUAGES, "For any other language write 'none'.")

    @field_validator("stemmer")
    @classmethod
    def _check_stemmer(cls, value: str) -> str:
        return _one_of(value, ("language", "none", *STEMMERS), "")

    @property
    def resolved_tokenization(self) -> Literal["words", "bigrams"]:
        """The tokenization, chosen by the language by default."""
        return self.tokenization or ("bigrams" if self.language in UNSPACED else "words")

    def estimate(self, sizes: Sizes, pairs: int) -> dict[str, float | str]:
        """Bytes of the index."""
        return bm25_work(sizes)

    def build(self, context: Context) -> Retriever:
        """Index the passages if that is not done yet, and map the index."""
        from recipekit.retrievers.bm25_index import Bm25Retriever, write_index

        analysis = self._analysis()
        passages = context.dataset.passages

        def write(folder: Path) -> None:
            self._warn_of_script(context)
            write_index(folder, passages, analysis, self.k1, self.b, context.progress)

        identity = {
            "version": self.version,
            **self.model_dump(
                mode="json", include={"k1", "b", "language", "stemmer", "stop_words"}
            ),
            "tokenization": self.resolved_tokenization,
        }
        return Bm25Retriever(context.artifact("bm25", identity, write), analysis)

    def _analysis(self) -> Analysis:
        from recipekit.retrievers.bm25_index import Analysis
        from recipekit.retrievers.segmentation import bigrams, normalized, words

        stemmer = self.language if self.stemmer == "language" else self.stemmer
        stop_words: str | tuple[str, ...]
        if self.stop_words == "language":
            stop_words = (
                self.language
                if self.language in STOP_LISTS and self.resolved_tokenization == "words"
                else ()
            )
        else:
            stop_words = (
                () if self.stop_words == "none" else tuple(map(normalized, self.stop_words))
            )
        return Analysis(
            bigrams if self.resolved_tokenization == "bigrams" else words,
            stop_words,
            stemmer if stemmer in STEMMERS else None,
        )

    def _warn_of_script(self, context: Context) -> None:
        """Warn if a corpus without spaces would be split into words as long as sentences."""
        from recipekit.retrievers.segmentation import unspaced_share

        if self.tokenization is not None or self.resolved_tokenization == "bigrams":
            return
        passages = context.dataset.passages
        share = unspaced_share(passages.texts(range(min(SAMPLE, len(passages)))))
        if share > UNSPACED_SHARE:
            context.progress.warn(
                f"bm25: {share:.0%} of the passages' characters belong to a script without spaces "
                f"between words, but language '{self.language}' splits at spaces: name the "
                f"language ({', '.join(UNSPACED)}), or set tokenization: bigrams"
            )
