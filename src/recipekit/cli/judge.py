"""`recipekit judge`: try the judges on a few queries, or draw pairs for people to label."""

from __future__ import annotations

import shlex
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recipekit.cli.help import Command, CommandGroup
from recipekit.cli.options import (
    DEFAULT_RECIPE,
    Cache,
    LocalCode,
    Overrides,
    RecipeArgument,
    Runs,
    TrustRemoteCode,
)

if TYPE_CHECKING:
    from recipekit.stages.judge.commands import MinedRecipe
    from recipekit.stages.judge.trial import JudgeTrial, TriedPair

__all__ = ["judge", "render_calls", "render_trial", "sample", "try_"]

judge = typer.Typer(
    cls=CommandGroup,
    help="Try the judges, or draw pairs for people to label.",
    no_args_is_help=True,
)


@judge.command(
    "try", cls=Command, short_help="Judge a few pairs with real calls, and show their cost."
)
def try_(
    context: typer.Context,
    recipe: RecipeArgument = DEFAULT_RECIPE,
    n: Annotated[int, typer.Option("--n", help="How many pairs to show.", min=1)] = 20,
    name: Annotated[
        str | None,
        typer.Option(
            "--judge", metavar="NAME", help="Only this judge, without conditions on other judges."
        ),
    ] = None,
    ask_again: Annotated[
        bool,
        typer.Option(
            "--ask-again", help="Repeat, and pay again for, calls whose replies are stored."
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Show each call's prompt and raw reply."),
    ] = False,
    overrides: Overrides = None,
    cache: Cache = None,
    runs: Runs = None,
    allow_local_code: LocalCode = False,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Judge a few queries with real calls, and show verdicts, reasons and the cost of all pairs.

    Collects and mines first, unless that is done. Replies with grades are kept: another trial
    (without --ask-again) and a run do not pay for them again, except for a judge that comes after
    another and is tried alone (--judge) or has `max_pairs`, since a run groups its pairs
    differently.
    """
    from recipekit.pipeline.progress import ConsoleProgress
    from recipekit.report.terminal_stream import columns
    from recipekit.stages.judge.commands import try_judges
    from recipekit.stages.judge.stage import JUDGE
    from recipekit.stages.judge.trial import trial_section
    from recipekit.stages.recipe import load_recipe
    from recipekit.training.parallel import join_ranks

    loaded = load_recipe(
        recipe,
        overrides or (),
        allow_local_code=allow_local_code,
        trust_remote_code=trust_remote_code,
    )
    section = trial_section(loaded, name)
    trial = try_judges(
        _mined(context, loaded, cache, runs, check=True),
        section,
        n,
        progress=lambda folder: ConsoleProgress(folder / "log.jsonl", JUDGE.name),
        ranks=join_ranks(1),
        ask_again=ask_again,
    )
    if verbose:
        typer.echo("\n".join(render_calls(trial)))
    width = columns(sys.stdout, 100)
    typer.echo("\n".join(render_trial(trial, width)))


@judge.command(cls=Command, short_help="Draw candidate pairs for people to label.")
def sample(
    context: typer.Context,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The .csv or .jsonl file to write.")
    ],
    recipe: RecipeArgument = DEFAULT_RECIPE,
    n: Annotated[int, typer.Option("--n", help="How many pairs to draw.", min=1)] = 200,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    overrides: Overrides = None,
    cache: Cache = None,
    runs: Runs = None,
    allow_local_code: LocalCode = False,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Draw candidate pairs for people to label, over all ranks and (hidden) verdicts.

    Fill in the verdict: positive, negative or ignore; an empty one is skipped. OUTPUT.weights.json
    has how many candidates each pair represents: keep it next to the sample, and do not read it
    before labelling. Then name the sample in judge.control_pairs.human_labels to measure the judges
    against it, or give it to a `labels` judge, which overrules the judges before it.
    """
    from recipekit.judging.labelling_sample import check_output, write_sample
    from recipekit.stages.judge.commands import sample_pairs
    from recipekit.stages.recipe import load_recipe

    check_output(output, force=force)
    loaded = load_recipe(
        recipe,
        overrides or (),
        allow_local_code=allow_local_code,
        trust_remote_code=trust_remote_code,
    )
    pairs = sample_pairs(_mined(context, loaded, cache, runs), n)
    write_sample(pairs, output)
    fewer = " (all unlabelled candidates that a judge can get)" if len(pairs) < n else ""
    typer.echo(
        f"wrote {len(pairs):,} pairs to {output}{fewer}; fill in the verdict: positive, negative "
        "or ignore"
    )


def _mined(
    context: typer.Context,
    recipe: Any,
    cache: Path | None,
    runs: Path | None,
    *,
    check: bool = False,
) -> MinedRecipe:
    from recipekit.pipeline.run_inputs import run_inputs
    from recipekit.recipe.environment import redact
    from recipekit.stages.judge.commands import MinedRecipe
    from recipekit.stages.judge.stage import JUDGE

    store, artifacts = run_inputs(
        recipe,
        JUDGE,
        cache=cache,
        runs=runs,
        command=shlex.join(["recipekit", *context.obj]),
        show_line=lambda line: typer.echo(redact(line), err=True),
        check=check,
    )
    return MinedRecipe(recipe, store, artifacts)


# What a trial prints
# --------------------------------------------------------------------------------------------------


def render_trial(trial: JudgeTrial, width: int) -> Iterator[str]:
    """The pairs, the judges' counts and the cost, as lines."""
    from recipekit.stages.judge.ungraded import ungraded_pairs

    judges = trial.summary["judges"]
    for number, pair in enumerate(trial.pairs, start=1):
        yield from _render_pair(number, pair, width)
    judged = max(map(_pairs_of, judges.values()), default=0)
    yield f"{len(trial.pairs):,} of {judged:,} judged pairs, of {trial.queries:,} of the queries"
    for name, stats in judges.items():
        verdicts = ", ".join(f"{count:,} {verdict}" for verdict, count in stats["verdicts"].items())
        yield (
            f"  {name}: judged {_pairs_of(stats):,} pairs; its verdict is final for "
            f"{stats['judged']:,} ({verdicts})"
        )
    yield from (f"  {line}" for line in ungraded_pairs(judges))
    yield from _render_cost(trial)
    yield from (f"note: {note}" for note in trial.summary.get("notes") or ())


def render_calls(trial: JudgeTrial) -> Iterator[str]:
    """Every call's messages and its raw reply, as lines."""
    from recipekit.llm.completion import Reply
    from recipekit.report.terminal import printable

    for number, (request, outcome) in enumerate(trial.calls, start=1):
        yield f"--- call {number} to {request.model}"
        for message in request.messages:
            yield f"[{message['role']}]"
            yield printable(message["content"])
        if isinstance(outcome, Reply):
            origin = "stored reply" if outcome.from_cache else "reply"
            yield f"[{origin}]"
            yield printable(outcome.text)
        else:
            yield f"[no reply: {outcome.kind}] {printable(outcome.reason)}"
        yield ""


def _pairs_of(stats: Mapping[str, Any]) -> int:
    """How many pairs a judge got, control pairs included."""
    return int(stats["pairs"] + stats.get("control_pairs", 0))


def _render_pair(number: int, pair: TriedPair, width: int) -> Iterator[str]:
    control = " (a source positive, unmarked for the judge)" if pair.source_positive else ""
    yield f"{number}. {_wrap(pair.query, width, 2)}"
    yield f"   {_wrap(pair.passage_id, width, 1)}, rank {pair.rank}{control}"
    yield f"   {_wrap(pair.passage, width, 4)}"
    if pair.ungraded:
        yield f"   {pair.verdict.upper()}: {pair.judge} gave no usable answer"
    else:
        values = {"grade": pair.grade, "confidence": pair.confidence}
        details = [f"{name} {value:.3g}" for name, value in values.items() if value is not None]
        in_brackets = f" ({', '.join(details)})" if details else ""
        yield f"   {pair.verdict.upper()}{in_brackets} by {pair.judge}"
    if pair.reason:
        yield f"   {_wrap(pair.reason, width, 3)}"
    yield ""


def _wrap(text: str, width: int, lines: int) -> str:
    """A text on a few indented lines, without the control characters that it can contain."""
    from recipekit.report.terminal import printable

    wrapped = textwrap.wrap(printable(text), max(width - 4, 20), max_lines=lines, placeholder=" …")
    return "\n   ".join(wrapped)


def _render_cost(trial: JudgeTrial) -> Iterator[str]:
    from recipekit.report.numbers import plural, usd

    spent = trial.summary.get("spent")
    if not spent:
        return
    counts = [stats.get("counts") or {} for stats in trial.summary["judges"].values()]
    if spent["calls"]:
        cost = "at an unknown price"
        if spent["usd"] is not None:
            free = "that cost nothing, since the endpoint's price is 0"
            cost = f"for {usd(spent['usd'])}" if spent["usd"] else free
        line = f"{plural(spent['calls'], 'call')} {cost}; the replies are kept"
        if trial.unconditional:
            judges = " and ".join(trial.unconditional)
            line += f", but a run groups the pairs of {judges} differently and pays for those calls"
        yield line
    elif any(count.get("pairs_over_budget") for count in counts):
        yield "no call: the budget is too small for one"
    elif stored := sum((count.get("from_store") or {}).get("replies", 0) for count in counts):
        replies = "the reply was" if stored == 1 else f"all {stored:,} replies were"
        yield f"no call: {replies} in the store; --ask-again requests them again"
    else:
        yield "no call: no judge that costs money got a pair"
    for name in trial.without_pairs:
        yield (
            f"{name} got none of these pairs: the judges before it decided all of them. "
            f"Try more pairs (--n), or this judge alone (--judge {name})"
        )
    without = f", without {' and '.join(trial.without_pairs)}" if trial.without_pairs else ""
    if trial.usd_for_all is not None:
        cost = f"cost about {usd(trial.usd_for_all)}" if trial.usd_for_all else "cost nothing"
        yield (
            f"at this rate, all {trial.all_candidates:,} candidates would {cost}{without}; "
            "`recipekit plan` has the details"
        )
