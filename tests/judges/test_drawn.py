"""What a drawn row hides, and ids that a spreadsheet would take for formulas."""

import re

import numpy as np
import pytest

from recipekit.judges.sample_rows import bare, hidden, inert, weight_of


@pytest.mark.parametrize("weight", [1.0, 1.5, 1 / 3, 19_000 / 57, 2.5e8])
@pytest.mark.parametrize(
    ("query_id", "passage_id"), [("q1", "p1"), ("", ""), ("Frage ü", "=1+1"), ("a\tb", "'")]
)
def test_a_weight_is_found_again_by_its_ids(weight: float, query_id: str, passage_id: str) -> None:
    text = hidden(weight, query_id, passage_id)
    assert re.fullmatch("w[0-9a-f]{12}", text)
    assert weight_of(text, query_id, passage_id) == np.float32(weight)


def test_rows_of_one_stratum_look_as_different_as_rows_of_two() -> None:
    one = [hidden(333.0, "q", f"p{number}") for number in range(1000)]
    two = [hidden(333.0 if number % 2 else 1.0, "q", f"p{number}") for number in range(1000)]
    assert len({text[:5] for text in one}) > 900, "no four digits that the rows of a stratum share"
    assert len(set(one)) == len(set(two)) == 1000


def test_whatever_is_changed_is_noticed() -> None:
    text = hidden(12.5, "0012", "p1")
    for changed in (
        "",
        "w",
        text[:-1],
        text[1:],
        text + "0",
        f"x{text[1:]}",
        "w" + "0" * 12,
        "12.5",
        text.replace(text[3], "g"),
    ):
        with pytest.raises(ValueError):
            weight_of(changed, "0012", "p1")
    for query_id, passage_id in (("12", "p1"), ("0012", "p2"), ("p1", "0012"), ("0012", "P1")):
        with pytest.raises(
            ValueError, match=f"does not belong to query '{query_id}' and passage '{passage_id}'"
        ):
            weight_of(text, query_id, passage_id)


def test_a_weight_of_nothing_is_none() -> None:
    for weight in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="holds no weight"):
            weight_of(hidden(weight, "q", "p"), "q", "p")


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "@SUM(1)",
        "-p",
        "+1",
        "'=q",
        "''=q",
        "'q",
        "'",
        "''",
        "\tp",
        "\rp",
        "q",
        "",
        "q=1",
        "it's",
    ],
)
def test_a_text_is_made_inert_and_bare_again(text: str) -> None:
    assert not inert(text).startswith(("=", "+", "-", "@", "\t", "\r"))
    assert bare(inert(text)) == text


def test_what_a_spreadsheet_took_the_mark_off_is_as_good() -> None:
    assert [bare(text) for text in ("=1+1", "-p", "'q", "12")] == ["=1+1", "-p", "'q", "12"]
