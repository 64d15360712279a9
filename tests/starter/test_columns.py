"""The roles of columns are guessed from their names and values."""

from typing import Any

import pytest

from recipekit.errors import DataError
from recipekit.starter.columns import ColumnRoles, UnclearColumnsError, guess_roles


def roles(
    *columns: str, values: dict[str, list[Any]] | None = None, complete: bool = True, **named: str
) -> ColumnRoles:
    """Roles of a table of three rows; a column without values holds different texts."""
    given = values or {}
    rows = [
        {
            name: given.get(name, [f"{name} one", f"{name} two", f"{name} 3"])[row]
            for name in columns
        }
        for row in range(3)
    ]
    return guess_roles("faq.csv", rows, complete=complete, **named)


@pytest.mark.parametrize(
    ("columns", "query", "positive"),
    [
        (["question", "answer"], "question", "answer"),
        (["answer", "question"], "question", "answer"),
        (["Answer", "Question"], "Question", "Answer"),
        (["content", "answer", "question"], "question", "answer"),
        (["query", "passage", "title"], "query", "passage"),
        (["anchor", "positive"], "anchor", "positive"),
        (["title", "body"], "title", "body"),
        (["title", "text", "url"], "title", "text"),
        (["customerQuestion", "best_answer_text"], "customerQuestion", "best_answer_text"),
        (["Frage", "Antwort"], "Frage", "Antwort"),
        (["sentence1", "sentence2"], "sentence1", "sentence2"),
        (["instruction", "output"], "instruction", "output"),
        (["a", "b"], "a", "b"),
        (["a", "answers"], "a", "answers"),
        (["query", "b"], "query", "b"),
        (["queries", "docs"], "queries", "docs"),
        (["pos", "q"], "q", "pos"),
        (["query", "hard_negative", "positive"], "query", "positive"),
    ],
)
def test_query_and_positive_are_found_by_name(
    columns: list[str], query: str, positive: str
) -> None:
    found = roles(*columns)
    assert (found.query, found.positive) == (query, positive)


def test_columns_that_describe_a_text_are_neither_query_nor_positive() -> None:
    found = roles("query_id", "query_type", "question", "answer_id", "answer_url", "answer_body")
    assert (found.query, found.positive) == ("question", "answer_body")


def test_numbers_and_dates_are_no_texts() -> None:
    found = roles("price", "a", "b", values={"price": ["1", "2.5", "3"]})
    assert (found.query, found.positive) == ("a", "b")


@pytest.mark.parametrize(
    ("columns", "missing"),
    [
        (["a", "b", "c"], ("query", "positive")),
        (["a"], ("query", "positive")),
        (["question"], ("positive",)),
        (["answer", "b", "c"], ("query",)),
    ],
)
def test_columns_that_cannot_be_guessed_are_one_line_without_options(
    columns: list[str], missing: tuple[str, ...]
) -> None:
    with pytest.raises(UnclearColumnsError) as caught:
        roles(*columns)
    assert caught.value.missing == missing
    assert str(caught.value).startswith("faq.csv: cannot tell which column holds the ")
    assert str(caught.value).endswith(f"; columns: {', '.join(columns)}")


def test_named_columns_override_the_guess() -> None:
    found = roles("question", "answer", "context", query="context", positive="question")
    assert (found.query, found.positive) == ("context", "question")
    found = roles("question", "answer", "context", positive="context")
    assert (found.query, found.positive) == ("question", "context")


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"query": "questoin"}, "no column 'questoin' for `query`"),
        ({"query": "n"}, "the column 'n' for `query` holds no text"),
        ({"query": "answer", "positive": "answer"}, "name the same column"),
    ],
)
def test_a_named_column_must_exist_and_hold_text(named: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=r"question|answer|column") as caught:
        roles("question", "answer", "n", values={"n": [1, 2, 3]}, **named)
    assert message in str(caught.value)


def test_negatives_titles_and_ids_are_found() -> None:
    found = roles("qid", "query", "doc_id", "title", "positive", "negative_1", "negative_2")
    assert found.keys() == {
        "query": "query",
        "positive": "positive",
        "title": "title",
        "query_id": "qid",
        "passage_id": "doc_id",
        "negatives": ["negative_1", "negative_2"],
    }


def test_ids_are_used_only_if_all_rows_were_read_and_each_has_one_text() -> None:
    assert roles("qid", "query", "passage", complete=False).query_id is None
    repeated = {"qid": ["1", "1", "2"]}
    assert roles("qid", "query", "passage", values=repeated).query_id is None
    same_text = {"query": ["one", "one", "two"]}
    assert roles("qid", "query", "passage", values=repeated | same_text).query_id == "qid"


@pytest.mark.parametrize(
    ("values", "label", "unused"),
    [
        (["0", "1", "3"], "relevance", None),
        ([0, 2, 1], "relevance", None),
        (["0", "0", "0"], None, "relevance"),
        (["0.2", "0.8", "1"], None, "relevance"),
        (["good", "bad", "good"], None, "relevance"),
        (["1", "", "2"], None, "relevance"),
        ([True, False, True], None, "relevance"),
    ],
)
def test_only_whole_grades_are_a_label(
    values: list[Any], label: str | None, unused: str | None
) -> None:
    found = roles("query", "passage", "relevance", values={"relevance": values})
    assert (found.label, found.unused_label) == (label, unused)


@pytest.mark.parametrize(
    ("values", "column"),
    [
        (["train", "test", "train"], "split"),
        (["Train", "validation", "test"], "split"),
        (["train", "train", "train"], None),
        (["test", "test", "test"], None),
        (["train", "test", "odd"], None),
    ],
)
def test_a_split_column_holds_train_and_another_split(
    values: list[str], column: str | None
) -> None:
    assert roles("query", "passage", "split", values={"split": values}).split_column == column


def test_a_list_of_passages_is_a_positive_and_never_a_query() -> None:
    lists = {"passages": [["a b", "c d"], ["e"], ["f", "g"]]}
    found = roles("passages", "query", values=lists)
    assert (found.query, found.positive) == ("query", "passages")
    with pytest.raises(DataError, match="cannot tell"):
        roles("passages", "x", "y", values=lists)
