"""Numbers, excerpts and tables of counts."""

from recipekit.report.blocks import Table
from recipekit.report.counts import counts_table, rows_table
from recipekit.report.numbers import duration, excerpt, figure, p_value, plural, signed, size, usd


def test_numbers_as_people_read_them():
    values = (1234567, 0.123456, 12345.6, True, None, "x")
    assert [figure(value) for value in values] == ["1,234,567", "0.1235", "12,346", "yes", "-", "x"]
    seconds = (0.42, 42, 185, 7805, None)
    assert [duration(s) for s in seconds] == ["0.4 s", "42 s", "3 min 5 s", "2 h 10 min", "-"]
    bytes_ = (12, 812_000_000, 2_140_000_000, None)
    assert [size(n) for n in bytes_] == ["12 B", "812 MB", "2.1 GB", "-"]
    assert [signed(value) for value in (0.0611, -0.05, -0.0002)] == ["+0.061", "-0.050", "+0.000"]
    assert [p_value(p) for p in (0.0004, 0.0312, 1.0)] == ["p < 0.001", "p = 0.031", "p = 1.000"]
    small = (0.05, 0.0996, 0.00001, 0.000012, 0.000001, 1e-9, 0.0)
    assert [usd(amount) for amount in small] == [
        "$0.05",
        "$0.10",
        "$0.00001",
        "$0.000012",
        "$0.000001",
        "< $0.000001",
        "$0.00",
    ]
    assert [usd(amount) for amount in (1323, 4.2, 0.00034, None)] == [
        "$1,323",
        "$4.20",
        "$0.00034",
        "-",
    ]
    assert plural(1, "query", "queries") == "1 query"
    assert plural(2000, "pair") == "2,000 pairs"


def test_excerpts_are_cut_between_words():
    assert excerpt("one two three", 300) == "one two three"
    assert excerpt("one two three four", 11) == "one two …"
    assert excerpt("x" * 50, 10) == "x" * 10 + " …"


def test_counts_become_rows_with_readable_labels():
    counts = {"pairs_in": 12000, "dropped": {"too_short": 3, "duplicates": 0}, "other": 1}
    labels = {
        "pairs_in": "pairs read",
        "dropped.too_short": "too short?",
        "dropped.duplicates": "duplicates?",
        "dropped.missing": "missing",
    }
    assert counts_table(counts, labels) == Table(
        ["", ""], [["pairs read", "12,000"], ["too short", "3"]]
    )
    assert counts_table({}, labels) is None


def test_groups_of_counts_become_rows_with_a_column_for_each_count():
    rows = {"bm25": {"found": {"in_top_10": 5}}, "dense": {"found": {"in_top_10": 7}, "files": [1]}}
    assert rows_table(rows, name="retriever", labels={"files": "read"}) == Table(
        ["retriever", "found in top 10", "read"], [["bm25", "5", ""], ["dense", "7", "1"]]
    )
    assert rows_table({}) is None
