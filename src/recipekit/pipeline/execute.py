"""Executing a recipe: plan it, run the stages that are not cached, and write the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recipekit import stages
from recipekit.artifacts.key import FileHashes
from recipekit.artifacts.store import Store
from recipekit.errors import RecipekitError, RunError
from recipekit.pipeline.crew import Crew
from recipekit.pipeline.execution import Execution
from recipekit.pipeline.export_folder import ExportFolder, check_exports
from recipekit.pipeline.follow import follow
from recipekit.pipeline.launch import Launch
from recipekit.pipeline.plan import make_plan
from recipekit.pipeline.project import project_of
from recipekit.pipeline.run_events import OnEvent, Output, RunEvent
from recipekit.pipeline.run_record import RunRecord
from recipekit.pipeline.run_result import Run
from recipekit.pipeline.selection import check_range, select
from recipekit.pipeline.stage_process import StageProcesses
from recipekit.pipeline.trackers import check_tracker
from recipekit.recipe.sections import Recipe

if TYPE_CHECKING:
    from recipekit.dataset import Dataset

__all__ = ["run"]

SAME_COMMAND = "the command that started it"


def run(
    recipe: Recipe,
    *,
    cache: Path | str | None = None,
    runs: Path | str | None = None,
    start: str | None = None,
    until: str | None = None,
    export_to: Path | str | None = None,
    launch: Launch | None = None,
    command: str | None = None,
    output: Output = "text",
    on_event: OnEvent = lambda event: None,
    tracker: str | None = None,
    check_dataset: Callable[[Dataset], None] | None = None,
    reach: bool = True,
) -> Run:
    """Execute a recipe.

    Args:
        recipe: A loaded recipe.
        cache: The cache's folder, whose artifacts are reused; by default, that of the recipe's
            project (see `recipekit.pipeline.project`).
        runs: Where the folder of this run is made; by default, in the recipe's project.
        start: Run this stage and those after it again, even where they are cached.
        until: Stop after this stage.
        export_to: A folder for a copy of what the exporters write, with plain files and no links.
            It is new or empty, or has the exports of an earlier run, which are replaced.
        launch: How processes are started; one process on the best device by default. On a machine
            other than machine 0, this call runs the ranks of machine 0's stages until it ends.
        command: The command that repeats this run, for the report.
        output: How the stages' own processes show their work: in words or not at all on standard
            error, or as JSON on standard output.
        on_event: Receives what happens between stages.
        tracker: An experiment tracker for training's numbers, such as `tensorboard`.
        check_dataset: Called with the data set as soon as it is complete; raises an error if the
            run must not go on with it.
        reach: Check at the start that the servers of all stages can be used. A judge that runs
            first and whose replies are all stored needs none.

    Raises:
        RunError: A stage failed or was killed, or the recipe does not have `start` or `until`.
        RecipekitError: An error that a stage reported.
    """
    if tracker is not None:
        check_tracker(tracker)
    names = [name for name, _ in recipe.stages()]
    check_range(names, start, until)
    exports = _export_folder(export_to, names, until)
    project = project_of(recipe, cache=cache, runs=runs)
    store = Store(project.cache)
    launch = launch or Launch()
    if launch.machines is not None and launch.machines.number > 0:
        return follow(launch, command or SAME_COMMAND, on_event)
    crew = _crew(launch, store, command or SAME_COMMAND, on_event)
    hashes = FileHashes(store.root / "hashes.json")
    planned = make_plan(recipe, store, hashes, start=start)
    selection = select(planned, start, until)
    record = RunRecord.create(project.runs, recipe, planned, command)
    store.add_runs_folder(project.runs)
    hashes.save()
    execution = Execution(
        record,
        planned,
        selection,
        store,
        hashes,
        StageProcesses(launch, crew),
        output,
        on_event,
        tracker,
        check_dataset,
    )
    return _supervise(execution, exports, reach=reach)


def _supervise(execution: Execution, exports: ExportFolder | None, *, reach: bool) -> Run:
    """Run the stages, and record how the run ends, however it does."""
    try:
        return _run_stages(execution, exports, reach=reach)
    except (KeyboardInterrupt, SystemExit) as signal:
        execution.close_early("interrupted")
        reason, code = "interrupted", "RK606"
        if isinstance(signal, SystemExit):  # the command line exits at SIGTERM
            reason, code = "ended by SIGTERM", "RK619"
        kept = "; finished stages are kept" if execution.artifacts else ""
        resume = f"To resume: {execution.record.command}"
        raise RunError(f"{reason}{kept}. {resume}", code=code) from None
    finally:
        execution.processes.close()
        execution.record.release()


def _run_stages(execution: Execution, exports: ExportFolder | None, *, reach: bool) -> Run:
    """Run the stages, and record how the run ends if no signal ends it."""
    record = execution.record
    try:
        execution.announce()
        execution.prepare(reach=reach)
        execution.latest_before = record.make_latest()
        for name in execution.selection.names:
            execution.stage(stages.stage_named(name))
            execution.check_data()
        if exports is not None:
            execution.export_to(exports)
        return execution.close("finished")
    except RecipekitError as error:
        execution.close_early("failed", _first_line(error.message))
        if execution.did_nothing(error):
            record.restore_latest(execution.latest_before)
        raise
    except BrokenPipeError:
        execution.close_early("failed", "the output pipe was closed")
        raise
    except Exception as error:
        execution.close_early("failed", _first_line(f"{type(error).__name__}: {error}"))
        raise


def _crew(launch: Launch, store: Store, command: str, on_event: OnEvent) -> Crew | None:
    """Gather the other machines, if there are several."""
    if launch.machines is None:
        return None

    def inform(line: str) -> None:
        on_event(RunEvent("machine_waiting", {"machine": 0}, line))

    return Crew(launch.machines, store.root, command, inform)


def _export_folder(
    folder: Path | str | None, names: Sequence[str], until: str | None
) -> ExportFolder | None:
    """Return the folder for exports, after checking that it can be used."""
    if folder is None:
        return None
    check_exports(names[: names.index(until) + 1] if until else names)
    exports = ExportFolder(Path(folder).expanduser())
    exports.check()
    return exports


def _first_line(text: str) -> str:
    return text.partition("\n")[0]
