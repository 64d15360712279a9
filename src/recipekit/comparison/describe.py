"""A comparison as blocks, for a terminal and for a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from recipekit.comparison.describe_differing import (
    differing_sections,
    differing_title,
    most_different,
    noun_of,
    side_by_side,
)
from recipekit.comparison.figures import figure_names, quality_figure, trade_off_figures
from recipekit.comparison.result import Comparison, ModelFacts
from recipekit.comparison.verdicts import Tested
from recipekit.component import Efficiency
from recipekit.report.blocks import (
    Block,
    Bullets,
    Code,
    Line,
    ReportSection,
    Span,
    Strong,
    Table,
    Text,
)
from recipekit.report.metrics import (
    SIGNIFICANT,
    UNTESTED,
    EvaluatorMetrics,
    evaluator_metrics,
    metrics_table,
)
from recipekit.report.numbers import figure, index_size, p_value, parameter_count, plural, signed
from recipekit.report.text_tables import language_section, without_languages

__all__ = ["page_blocks", "page_title", "terminal_blocks"]

TERMINAL_METRICS = 5
"""Metrics of an evaluator whose differences a terminal shows."""
LONGEST_TITLE = 60
PLAIN = ("not significant", "not tested")


def terminal_blocks(comparison: Comparison) -> list[Block]:
    """Return what a terminal shows: all figures, and a few queries."""
    blocks: list[Block] = [*_summary(comparison), *_models_tables(comparison)]
    for measured in evaluator_metrics(comparison.metric_rows):
        blocks += [_quality(measured, comparison, TERMINAL_METRICS)]
    if queries := most_different(comparison):
        title = f"The {noun_of(queries, 'query', 'item')} that differs most for each model"
        blocks.append(ReportSection(title, [side_by_side(query) for query in queries]))
    return [*blocks, *_notes(comparison)]


def page_blocks(comparison: Comparison) -> list[Block]:
    """Return what a page shows: everything, with figures."""
    sections = [
        ReportSection("Models", _models_tables(comparison)),
        *(_quality(each, comparison, None) for each in evaluator_metrics(comparison.metric_rows)),
        ReportSection("Quality against speed and size", trade_off_figures(comparison)),
        ReportSection(differing_title(comparison), differing_sections(comparison)),
        ReportSection("How this was measured", list(_notes(comparison))),
    ]
    shown = [section for section in sections if section.blocks]
    return [ReportSection(page_title(comparison), [*_summary(comparison), *shown])]


def page_title(comparison: Comparison) -> str:
    """Return the title of the page: the models, unless their names are too long together."""
    names = ", ".join(model.name for model in comparison.models)
    if len(names) > LONGEST_TITLE:
        names = f"{len(comparison.models)} models with {comparison.reference}"
    return f"Comparison of {names}"


def _summary(comparison: Comparison) -> Iterator[Block]:
    """One line for each model: its verdict by the first metric of every evaluator."""
    yield Text(f"Measured with {comparison.measured}, against {comparison.reference}:")
    lines: list[Line] = []
    for model in comparison.models:
        if model.name == comparison.reference:
            continue
        own = [test for test in _main(comparison) if test.model == model.name]
        parts: list[Span] = []
        for test in own:
            parts += ["; ", *_sentence(test, len(own) > 1)]
        others = [t for t in _tests(comparison) if t.model == model.name and t not in own]
        lines.append((Code(model.name), ": ", *parts[1:], _further_losses(others)))
    yield Bullets(lines)


def _further_losses(others: Sequence[Tested]) -> str:
    """How many differences by other metrics are losses."""
    losses = sum(test.verdict in ("loss", "regression") for test in others)
    if not losses:
        return ""
    return f"; {plural(losses, 'loss', 'losses')} in {plural(len(others), 'other metric')}"


def _tests(comparison: Comparison) -> list[Tested]:
    """The differences except those of single language pairs, which have tables of their own."""
    return [test for test in comparison.tested if test.languages is None]


def _main(comparison: Comparison) -> list[Tested]:
    """The differences by the first metric of every evaluator."""
    first = {
        (each.evaluator, each.metrics[0]) for each in evaluator_metrics(comparison.metric_rows)
    }
    return [test for test in comparison.tested if (test.evaluator, test.metric) in first]


def _sentence(test: Tested, several: bool) -> tuple[Span, ...]:
    where = f"{test.metric} of {test.evaluator}" if several else test.metric
    parts = [f"{signed(test.difference)} {_interval(test)}".strip()]
    parts += [p_value(test.p_adjusted)] if test.p_adjusted is not None else []
    return (_word(test), f": {where} {test.value:.3f} ({', '.join(parts)})")


def _word(test: Tested) -> Strong | str:
    return test.verdict if test.verdict in PLAIN else Strong(test.verdict)


def _interval(test: Tested) -> str:
    if test.low is None or test.high is None:
        return ""
    return f"[{signed(test.low)}, {signed(test.high)}]"


# Tables
# -------------------------------------------------------------------------------------------------


def _models_tables(comparison: Comparison) -> list[Table]:
    """What each model is, and what it costs."""
    facts: list[Line] = [
        "model", "what", "dimensions", "parameters", "max length", "similarity", "licence",
    ]  # fmt: skip
    costs: list[Line] = [
        "model", "bytes/vector", "index", "passages/s", "queries/s", "search ms/query",
    ]  # fmt: skip
    names = [_name(model, comparison.reference) for model in comparison.models]
    tables = [
        Table(facts, [[n, *_facts(m)] for n, m in zip(names, comparison.models, strict=True)], 2),
        Table(costs, [[n, *_costs(m)] for n, m in zip(names, comparison.models, strict=True)]),
    ]
    is_measured = any(model.efficiency != Efficiency() for model in comparison.models)
    return tables if is_measured else tables[:1]


def _name(model: ModelFacts, reference: str) -> Line:
    return (Strong(model.name), " (reference)") if model.name == reference else model.name


def _facts(model: ModelFacts) -> list[Line]:
    costs = model.efficiency
    size: list[Line] = [figure(costs.dimension), parameter_count(costs.parameters)]
    if model.is_published:
        limit = figure(model.max_length)
        licence = f"{model.licence} (base)" if model.licence else "-"
        return [model.what, *size, limit, model.similarity or "-", licence]
    if model.vectors is None:
        return [model.what, *size, *["-"] * 3]
    licence = model.licence or "not stated"
    if model.licence and model.base_model:
        licence = f"{model.licence} (base)"
    limit = "none" if model.max_length is None else figure(model.max_length)
    return [model.what, *size, limit, model.similarity or "-", licence]


def _costs(model: ModelFacts) -> list[Line]:
    costs = model.efficiency
    return [
        figure(costs.bytes_per_vector),
        index_size(costs.index_bytes),
        _rate(costs.passages_per_second),
        _rate(costs.queries_per_second),
        figure(costs.search_ms_per_query),
    ]


def _rate(rate: float | None) -> str:
    if rate is None:
        return "-"
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def _quality(measured: EvaluatorMetrics, comparison: Comparison, most: int | None) -> ReportSection:
    """The figures of an evaluator: of a few metrics, or all of them with a figure."""
    main = without_languages(measured)
    metrics = main.metrics[:most]
    rows = [row for row in main.rows if row["metric"] in metrics]
    shown = EvaluatorMetrics(measured.evaluator, measured.split, rows)
    tests = [
        test
        for test in _tests(comparison)
        if (test.evaluator, test.split) == (measured.evaluator, measured.split)
        and test.metric in metrics
    ]
    blocks: list[Block] = [metrics_table(shown), _tests_table(tests)]
    if most is None:
        drawn = quality_figure(main, figure_names([m.name for m in comparison.models]))
        by_language = language_section(measured)
        blocks = [block for block in (drawn, *blocks, by_language) if block is not None]
    return ReportSection(measured.title, blocks)


def _tests_table(tests: Sequence[Tested]) -> Table:
    rows: list[list[Line]] = [
        [
            test.model,
            test.metric,
            signed(test.difference),
            _interval(test),
            "" if test.p_adjusted is None else p_value(test.p_adjusted),
            _word(test),
        ]
        for test in tests
    ]
    against = f"against {tests[0].reference}" if tests else ""
    return Table([against, "metric", "difference", "interval", "adjusted", "verdict"], rows, left=2)


# Notes
# -------------------------------------------------------------------------------------------------


def _notes(comparison: Comparison) -> Iterator[Block]:
    row = next((row for row in comparison.metric_rows if row.get("bootstrap_samples")), None)
    if row is not None:
        tests = sum(test.p_adjusted is not None for test in _tests(comparison))
        pairs = sum(test.p_adjusted is not None for test in comparison.tested) - tests
        apart = f", those of {pairs} single language pairs apart" if pairs else ""
        yield Text(
            f"Brackets hold {100 * row['confidence_level']:g} % percentile bootstrap intervals. "
            "Differences are paired: both models are resampled with the same items. P-values are "
            f"two-sided (bootstrap, shift method) and adjusted for all {tests} tested differences "
            f"by Holm's method{apart}. Below {SIGNIFICANT:g}, a positive difference is a win and a "
            "negative one is a loss. A loss is a regression if the model was made from the "
            "reference: trained from its weights, the same weights with other options, or another "
            "run of the same recipe."
        )
        if warning := _too_few_samples(comparison, tests):
            yield Text(warning)
    if any(each.get("low") is None for each in comparison.metric_rows):
        yield Text(UNTESTED)
    timed = [model for model in comparison.models if model.efficiency.device]
    here = [model for model in timed if not model.is_published]
    if here:
        ways = dict.fromkeys(map(_way, here))
        yield Text(
            f"Speed was measured on {' and '.join(ways)}, with tokenizing, on texts of the data "
            "set."
        )
    for model in timed:
        if model.is_published:
            yield Text(
                f"Size and speed of {model.name} are as published: its run measured them on "
                f"{_way(model)}."
            )
    for note in comparison.notes:
        yield Text(note)


def _way(model: ModelFacts) -> str:
    """How speed was measured."""
    return f"{model.efficiency.device} ({model.efficiency.precision})"


def _too_few_samples(comparison: Comparison, tests: int) -> str:
    """A warning where no difference of an evaluator can become significant."""
    for row in comparison.metric_rows:
        samples = row.get("bootstrap_samples")
        if samples and tests / (samples + 1) >= SIGNIFICANT:
            return (
                f"With {samples:,} bootstrap samples and {tests} tests, no difference of "
                f"'{row['evaluator']}' can be significant: raise its bootstrap_samples."
            )
    return ""
