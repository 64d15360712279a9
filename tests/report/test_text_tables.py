"""Tables by language pair, and thresholds."""

from itertools import permutations
from typing import Any

from recipekit.report.blocks import Strong
from recipekit.report.metrics import differences_table, evaluator_metrics, metrics_table
from recipekit.report.text_tables import language_section, thresholds_table, without_languages

VALUES = {("en", "de"): 0.9, ("de", "en"): 0.8, ("en", "fi"): 0.7, ("fi", "en"): 0.6,
          ("de", "fi"): 0.5, ("fi", "de"): 0.4}  # fmt: skip


def row(system: str, metric: str, value: float, **keys: Any) -> dict[str, Any]:
    shared = {"evaluator": "bitext", "split": "", "queries": 10, "item": "sentence"}
    return {**shared, "system": system, "metric": metric, "value": value, **keys}


def significance(p: float) -> dict[str, Any]:
    ends = {"difference": 0.1, "low": 0.0, "high": 0.2}
    return {"untrained": {**ends, "p_value": p, "p_adjusted": p}}


def rows_of(system: str, more: float, p: float | None = None) -> list[dict[str, Any]]:
    tested = {} if p is None else {"differences": significance(p)}
    pairs = [
        row(system, f"accuracy {a}-{b}", VALUES[a, b] + more, languages=[a, b], **tested)
        for a, b in permutations(("en", "de", "fi"), 2)
    ]
    return [row(system, "accuracy", 0.65 + more, **tested), *pairs]


def test_language_pairs_are_squares_and_not_rows_of_the_main_table():
    [found] = evaluator_metrics([*rows_of("untrained", 0.0), *rows_of("trained", 0.1, p=0.01)])

    main = without_languages(found)
    assert metrics_table(main).header == ["system", "accuracy"]
    assert len(differences_table(main).rows) == 1  # type: ignore[union-attr]
    section = language_section(found)
    assert section is not None
    untrained, trained, difference = section.blocks
    assert untrained.title == "accuracy of untrained, from row to column"  # type: ignore[union-attr]
    assert untrained.header == ["", "en", "de", "fi"]  # type: ignore[union-attr]
    assert untrained.rows == [  # type: ignore[union-attr]
        ["en", "", "0.900", "0.700"],
        ["de", "0.800", "", "0.500"],
        ["fi", "0.600", "0.400", ""],
    ]
    assert trained.rows[0] == ["en", "", "1.000", "0.800"]  # type: ignore[union-attr]
    assert difference.rows[0][2] == Strong("+0.100")  # type: ignore[union-attr]


def test_other_evaluators_have_no_language_tables():
    [found] = evaluator_metrics([row("trained", "accuracy", 0.5)])
    assert language_section(found) is None
    assert thresholds_table(found) is None


def test_thresholds_of_pairs_are_a_table():
    rows = [
        row(system, metric, 0.5, **keys)
        for system in ("untrained", "trained")
        for metric, keys in (
            ("ap_cosine", {}),
            ("f1_cosine", {"threshold": 0.61234}),
            ("accuracy_cosine", {"threshold": 0.7}),
        )
    ]
    [found] = evaluator_metrics(rows)
    table = thresholds_table(found)
    assert table is not None
    assert table.header == ["best threshold for", "F1 (cosine)", "accuracy (cosine)"]
    assert table.rows[1] == ["trained", "0.6123", "0.7000"]
