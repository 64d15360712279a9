"""`recipekit judge`: try the judges before paying for all pairs, and draw pairs for people to
label.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from recipekit.pipeline.judge_trial import JudgeTrial, TriedPair
    from recipekit.pipeline.mined_recipe import MinedRecipe

__all__ = ["judge", "render_trial", "sample", "try_"]

RecipeArgument = Annotated[
    str, typer.Argument(help="A recipe file, or the name of a shipped recipe.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Override a key; repeatable."),
]
Cache = Annotated[Path, typer.Option(help="The cache's folder.")]
Runs = Annotated[
    Path, typer.Option(help="Where the run's folder is made, if there is something to mine.")
]
LocalCode = Annotated[
    bool, typer.Option("--allow-local-code", help="Let the recipe name components in local files.")
]

judge = typer.Typer(help="Try the judges, or draw pairs for people to label.", no_args_is_help=True)


@judge.command("try")
def try_(
    context: typer.Context,
    recipe: RecipeArgument,
    n: Annotated[int, typer.Option("--n", help="How many pairs to show.", min=1)] = 20,
    name: Annotated[
        str | None,
        typer.Option(
            "--judge", metavar="NAME", help="Only this judge, whatever others would have said."
        ),
    ] = None,
    overrides: Overrides = None,
    cache: Cache = Path(".recipekit"),
    runs: Runs = Path("runs"),
    allow_local_code: LocalCode = False,
) -> None:
    """Judge a few queries with real calls, and show each pair with its verdict and reason, the
    cost, and what all would cost.

    It collects and mines first, where that is not done yet. What is paid for is kept, and is not
    paid again by a run, unless the judge comes after another and is tried alone (--judge), or
    judges a `sample`: a run then puts other pairs together in a call.
    """
    from recipekit.pipeline.judge_trial import section_to_try, try_judges
    from recipekit.pipeline.progress import ConsoleProgress
    from recipekit.pipeline.worker import join_ranks
    from recipekit.stages.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or (), allow_local_code=allow_local_code)
    section = section_to_try(loaded, name)
    found = _mined(context, loaded, cache, runs, ahead=("judge",))
    trial = try_judges(
        found,
        section,
        n,
        progress=lambda folder: ConsoleProgress(folder / "log.jsonl", "judge"),
        ranks=join_ranks(1),
    )
    width = shutil.get_terminal_size((100, 40)).columns if sys.stdout.isatty() else 100
    typer.echo("\n".join(render_trial(trial, width)))


@judge.command()
def sample(
    context: typer.Context,
    recipe: RecipeArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The .csv or .jsonl file to write.")
    ],
    n: Annotated[int, typer.Option("--n", help="How many pairs to draw.", min=1)] = 200,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file if it is there.")
    ] = False,
    overrides: Overrides = None,
    cache: Cache = Path(".recipekit"),
    runs: Runs = Path("runs"),
    allow_local_code: LocalCode = False,
) -> None:
    """Draw candidate pairs for people to label, over all ranks and, where they are judged, all
    verdicts (which are not shown).

    Fill in the verdict: positive, negative or ignore; what is left empty is not read. Leave ids and
    `draw` as they are: by `draw`, the figures are weighted back to all candidates. Then name the
    file in judge.control_pairs.human_labels to measure the judges by it, or give it to a `labels`
    judge, which overrules those before it.
    """
    from recipekit.pipeline.label_sample import check_output, sample_rows, write_sample
    from recipekit.stages.recipe import load_recipe

    check_output(output, force=force)
    loaded = load_recipe(recipe, overrides or (), allow_local_code=allow_local_code)
    rows = sample_rows(_mined(context, loaded, cache, runs), n)
    write_sample(rows, output)
    fewer = (
        f" (there are no more than {len(rows):,} unlabelled candidates to be judged)"
        if len(rows) < n
        else ""
    )
    typer.echo(
        f"wrote {len(rows):,} pairs to {output}{fewer}; fill in the verdict: positive, negative or ignore"
    )


def _mined(
    context: typer.Context, recipe: Any, cache: Path, runs: Path, ahead: Sequence[str] = ()
) -> MinedRecipe:
    from recipekit.pipeline.mined_recipe import mined_recipe
    from recipekit.recipe.environment import redact

    command = shlex.join(["recipekit", *context.obj])
    return mined_recipe(
        recipe,
        cache=cache,
        runs=runs,
        command=command,
        say=lambda line: typer.echo(redact(line), err=True),
        ahead=ahead,
    )


# What trying prints
# --------------------------------------------------------------------------------------------------------


def render_trial(trial: JudgeTrial, width: int) -> Iterator[str]:
    """The pairs, what was counted, and the money, as lines."""
    from recipekit.stages.judge.ungraded import ungraded_pairs

    for number, pair in enumerate(trial.shown, start=1):
        yield from _pair(number, pair, width)
    yield f"{len(trial.shown):,} of {_asked(trial.summary):,} judged pairs, of {trial.queries:,} of the queries"
    for name, told in trial.summary["judges"].items():
        words = ", ".join(f"{count:,} {word}" for word, count in told["verdicts"].items())
        yield f"  {name}: asked about {told['seen'] + told.get('blind', 0):,}; its word stands on {told['judged']:,} ({words})"
    yield from (f"  {told}" for told in ungraded_pairs(trial.summary["judges"]))
    yield from _money(trial)
    yield from (f"note: {note}" for note in trial.summary.get("notes") or ())


def _pair(number: int, pair: TriedPair, width: int) -> Iterator[str]:
    numbers = {"grade": pair.grade, "confidence": pair.confidence}
    details = ", ".join(
        f"{name} {value:.3g}" for name, value in numbers.items() if value is not None
    )
    known = " (a source positive, judged blind)" if pair.given else ""
    yield f"{number}. {_cut(pair.query, width, 2)}"
    yield f"   {_cut(pair.passage_id, width, 1)}, rank {pair.rank}{known}"
    yield f"   {_cut(pair.passage, width, 4)}"
    said = f"{pair.verdict.upper()}{f' ({details})' if details else ''} by {pair.judge}"
    yield (
        f"   {said}"
        if pair.answered
        else f"   {pair.verdict.upper()}: {pair.judge} gave no answer that could be used"
    )
    if pair.reason:
        yield f"   {_cut(pair.reason, width, 3)}"
    yield ""


def _cut(text: str, width: int, lines: int) -> str:
    """A text in a few indented lines.

    It may hold anything: no control character of its own reaches the terminal.
    """
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return "\n   ".join(textwrap.wrap(plain, max(width - 4, 20), max_lines=lines, placeholder=" …"))


def _asked(summary: Mapping[str, Any]) -> int:
    return max(
        (told["seen"] + told.get("blind", 0) for told in summary["judges"].values()), default=0
    )


def _money(trial: JudgeTrial) -> Iterator[str]:
    from recipekit.report.numbers import plural, usd

    spent = trial.summary.get("spent")
    if not spent:
        return
    cost = "at a price that is not known" if spent["usd"] is None else f"for {usd(spent['usd'])}"
    if spent["calls"]:
        again = (
            f", but a run asks {' and '.join(trial.freed)} about other groups of pairs, and pays for that"
            if trial.freed
            else ""
        )
        yield f"{plural(spent['calls'], 'call')} {cost}; what is paid for is kept{again}"
    elif any(
        (told.get("counts") or {}).get("pairs_over_budget")
        for told in trial.summary["judges"].values()
    ):
        yield "no call: the limit allows not even one"
    else:
        yield "no call: every reply was kept from before"
    if trial.usd_for_all is not None:
        yield f"at this rate, all {trial.of:,} candidates would cost about {usd(trial.usd_for_all)}; `recipekit plan` has the details"
