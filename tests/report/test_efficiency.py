"""Tables that set quality next to cost."""

from typing import Any

from recipekit.report.efficiency import compression_table, efficiency_table, rerank_table
from recipekit.report.metrics import evaluator_metrics, headline
from recipekit.stages.evaluate.describe import _method


def row(system: str, value: float, **keys: Any) -> dict[str, Any]:
    base = {"evaluator": "held_out", "split": "test", "metric": "ndcg@10", "queries": 10}
    ends = {"low": value - 0.1, "high": value + 0.1}
    return {**base, "system": system, "value": value, **ends, **keys}


def difference_to(other: str, difference: float, p: float) -> dict[str, Any]:
    values = {"difference": difference, "low": difference - 0.01, "high": difference + 0.01}
    return {other: {**values, "p_value": p, "p_adjusted": p}}


ROWS = [
    row("bm25", 0.3),
    row("trained", 0.5, differences=difference_to("bm25", 0.2, 0.001)),
    row("trained int8", 0.49, variant="compression", variant_of="trained",
        differences=difference_to("trained", -0.01, 0.2)),
    row("trained binary", 0.4, variant="compression", variant_of="trained",
        differences=difference_to("trained", -0.1, 0.001)),
    row("bm25 + cross", 0.45, variant="rerank", variant_of="bm25",
        differences=difference_to("bm25", 0.15, 0.004)),
]  # fmt: skip
EFFICIENCY = {
    "held_out": {
        "bm25": {"search_ms_per_query": 0.25, "index_bytes": 5_000},
        "trained": {
            "search_ms_per_query": 0.5, "queries_per_second": 100.0, "passages_per_second": 40.0,
            "dimension": 8, "bytes_per_vector": 32, "index_bytes": 3200, "parameters": 22_713_216,
            "device": "CPU", "precision": "fp32",
        },
        "trained int8": {"dimension": 8, "bytes_per_vector": 8, "index_bytes": 800},
        "trained binary": {"dimension": 8, "bytes_per_vector": 1, "index_bytes": 100},
        "bm25 + cross": {
            "pairs": 50, "pairs_per_second": 25.0, "ms_per_query": 200.0,
            "parameters": 22_713_217, "device": "NVIDIA H200", "precision": "bf16",
        },
    }
}  # fmt: skip


def test_variants_are_no_systems_of_the_main_table():
    [found] = evaluator_metrics(ROWS, EFFICIENCY)
    assert found.systems == ["bm25", "trained"]
    main = headline(found)
    assert main is not None and "(bm25) to 0.500 (trained)" in main.sentence


def test_speed_and_size_are_next_to_the_main_metric():
    [found] = evaluator_metrics(ROWS, EFFICIENCY)
    table = efficiency_table(found)
    assert table is not None
    assert table.header[:4] == ["system", "ndcg@10", "passages/s", "queries/s"]
    assert [row[:5] for row in table.rows] == [
        ["bm25", "0.300 [0.200, 0.400]", "-", "-", "0.25"],
        ["trained", "0.500 [0.400, 0.600]", "40", "100", "0.5"],
    ]
    assert table.rows[1][5:] == ["3.20 kB", "8", "22.7 M", "CPU", "fp32"]
    assert efficiency_table(evaluator_metrics(ROWS)[0]) is None


def test_a_compression_has_its_bytes_and_its_loss():
    [found] = evaluator_metrics(ROWS, EFFICIENCY)
    table = compression_table(found)
    assert table is not None
    full, int8, binary = table.rows
    assert full[:4] == ["trained, full vectors", "8", "32", "3.20 kB"]
    assert int8[1:3] == ["8", "8"]
    assert int8[5:] == ["-0.010 [-0.020, +0.000]", "p = 0.200", "no"]
    assert binary[2] == "1" and "yes, worse" in str(binary[-1])
    assert compression_table(evaluator_metrics(ROWS[:2])[0]) is None


def test_both_stages_have_their_time_and_the_second_its_pairs():
    [found] = evaluator_metrics(ROWS, EFFICIENCY)
    table = rerank_table(found)
    assert table is not None
    first, second = table.rows
    assert first == ["bm25", "0.300 [0.200, 0.400]", "", "", "-", "-", "0.25", "-", "-", "-"]
    assert second[0] == "bm25 + cross"
    assert second[4:] == ["50", "25", "200", "22.7 M", "NVIDIA H200", "bf16"]
    variant = {**ROWS[4], "system": "trained + cross", "variant_of": "trained"}
    variant["differences"] = difference_to("trained", 0.1, 0.01)
    [dense] = evaluator_metrics([*ROWS[:2], variant], EFFICIENCY)
    whole = rerank_table(dense)
    assert whole is not None and whole.rows[0][6] == "10.5", "10 ms embed a query, 0.5 search"


def test_the_note_on_intervals_names_what_was_resampled():
    rows = [
        {"bootstrap_samples": 10_000, "confidence_level": 0.95},
        {"bootstrap_samples": 1_000, "confidence_level": 0.95, "item": "pair"},
        {"bootstrap_samples": 1_000, "confidence_level": 0.95, "item": "sentence"},
    ]
    [note] = _method(rows)
    assert "over the queries, from 10,000 samples, or " in str(note.content)
    assert "over the pairs and sentences, from 1,000 samples" in str(note.content)
    [pairs] = _method(rows[1:2])
    assert "queries" not in str(pairs.content)
