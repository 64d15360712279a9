"""Executing a recipe: plan it, run the stages that are not cached, and write the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipekit import stages
from recipekit.artifacts.key import FileHashes
from recipekit.artifacts.manifest import manifest
from recipekit.artifacts.storage_errors import explained
from recipekit.artifacts.store import Artifact, Store
from recipekit.error_codes import found_before_work
from recipekit.errors import DataError, RecipekitError, RunError, StoreError
from recipekit.llm.reply_cache import ReplyCache
from recipekit.pipeline.crew import Crew
from recipekit.pipeline.declared_files import with_declaration
from recipekit.pipeline.export_folder import ExportFolder, check_exports, exporting_stage
from recipekit.pipeline.follow import follow
from recipekit.pipeline.job import Job
from recipekit.pipeline.launch import Launch
from recipekit.pipeline.ledger import ledger_of
from recipekit.pipeline.live_components import check_unchanged
from recipekit.pipeline.plan import Plan, StagePlan, make_plan
from recipekit.pipeline.preflight import check_data, check_servers
from recipekit.pipeline.project import project_of
from recipekit.pipeline.report import write_report
from recipekit.pipeline.run_events import OnEvent, Output, RunEvent
from recipekit.pipeline.run_record import RunRecord
from recipekit.pipeline.run_result import Run
from recipekit.pipeline.stage_process import StageProcesses
from recipekit.pipeline.trackers import check_tracker
from recipekit.recipe.sections import Recipe
from recipekit.report.numbers import duration
from recipekit.stages.dataset_view import dataset_view
from recipekit.stages.stage import Stage
from recipekit.suggestions import did_you_mean

if TYPE_CHECKING:
    from recipekit.dataset import Dataset

__all__ = ["check_range", "run"]

REASONS_SHOWN = 3
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
        reach: Check at the start that the servers of later stages can be used. A judge whose
            replies are all stored needs none.

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
    selection = _select(planned, start, until)
    record = RunRecord.create(project.runs, recipe, planned, command)
    store.add_runs_folder(project.runs)
    hashes.save()
    execution = _Execution(
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
    try:
        execution.announce()
        execution.prepare(reach=reach)
        execution.latest_before = record.make_latest()
        for name in selection.names:
            execution.stage(stages.stage_named(name))
            execution.check_data()
        if exports is not None:
            execution.export_to(exports)
        return execution.close("finished")
    except KeyboardInterrupt:
        execution.close_early("interrupted")
        raise RunError(
            f"interrupted; finished stages are kept. To resume: {record.command}", code="RK606"
        ) from None
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
    finally:
        execution.processes.close()


def _crew(launch: Launch, store: Store, command: str, on_event: OnEvent) -> Crew | None:
    """Gather the other machines, if there are several."""
    if launch.machines is None:
        return None

    def inform(line: str) -> None:
        on_event(RunEvent("machine_waiting", {"machine": 0}, line))

    return Crew(launch.machines, store.root, command, inform)


def check_range(names: list[str], start: str | None, until: str | None) -> None:
    """Check `--from` and `--until`.

    Raises:
        RunError: The recipe does not have such a stage, or there is nothing between the two.
    """
    for flag, name in (("--from", start), ("--until", until)):
        if name is not None and name not in names:
            hint = did_you_mean(name, names) or f" It has {', '.join(names)}."
            raise RunError(f"{flag} {name}: this recipe has no such stage.{hint}", code="RK605")
    if start and until and names.index(start) > names.index(until):
        raise RunError(
            f"--from {start} comes after --until {until}: no stage would run", code="RK605"
        )


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


@dataclass(frozen=True)
class _Selection:
    """What a run covers."""

    start: str | None

    names: list[str]
    """The stages up to `--until`."""
    forced: set[str]
    """Those from `--from` on, which run even where they are cached."""
    to_run: list[str]
    """Those that are forced or not cached."""


def _select(planned: Plan, start: str | None, until: str | None) -> _Selection:
    """Apply `--from` and `--until` to a plan."""
    names = [stage.stage for stage in planned]
    selected = names[: names.index(until) + 1] if until else names
    forced = set(names[names.index(start) :]) if start else set()
    to_run = [name for name in selected if name in forced or planned[name].state != "hit"]
    return _Selection(start, selected, forced, to_run)


class _Execution:
    """A run under way."""

    def __init__(
        self,
        record: RunRecord,
        planned: Plan,
        selection: _Selection,
        store: Store,
        hashes: FileHashes,
        processes: StageProcesses,
        output: Output,
        on_event: OnEvent,
        tracker: str | None,
        check_dataset: Callable[[Dataset], None] | None,
    ) -> None:
        self.record, self.planned, self.selection = record, planned, selection
        self.store, self.hashes = store, hashes
        self.output, self.on_event, self.tracker = output, on_event, tracker
        self.check_dataset = check_dataset
        self.recipe = record.recipe
        self.processes = processes
        self.artifacts: dict[str, Artifact] = {}
        self.ran: list[str] = []
        self.latest_before: Path | None = None
        self.exported_to: Path | None = None
        self._replies_before = _stored_replies(store)
        self._checking_data = self._data_checked = False

    def announce(self) -> None:
        """Report what will be done."""
        stages = [
            {"stage": name, "state": self.planned[name].state, "key": self.planned[name].key}
            for name in self.selection.names
        ]
        self.emit(
            "run_started",
            run=str(self.record.path.absolute()),
            recipe=self.recipe.name,
            cache=str(self.store.root.absolute()),
            stages=stages,
        )

    def emit(self, name: str, line: str = "", **fields: Any) -> None:
        """Report an event, with its line for people."""
        self.on_event(RunEvent(name, fields, line))

    def prepare(self, *, reach: bool) -> None:
        """Start the slow imports, and check the servers of the stages after the first.

        The first stage connects to its servers at once. A judge whose replies are all cached needs
        no server. A recipe without encoders rarely needs the slow imports.
        """
        computes = any(stages.stage_named(name).ranks for name in self.selection.to_run)
        if computes and self.recipe.encoders:
            self.processes.warm_up()
        if reach:
            check_servers(self.recipe, self.selection.to_run[1:])

    def stage(self, stage: Stage) -> None:
        """Run one stage, or take it from the cache."""
        planned = self.planned[stage.name]
        if planned.key is None:  # an earlier stage may have supplied what was unknown
            self.planned = make_plan(
                self.recipe, self.store, self.hashes, start=self.selection.start
            )
            self.hashes.save()
            planned = self.planned[stage.name]
        if planned.key is None:
            raise RunError(f"{stage.name} cannot run: {'; '.join(planned.reasons)}", code="RK607")
        force = stage.name in self.selection.forced
        artifact = self.store.find(stage.name, planned.key)
        if artifact is None or force:
            artifact = self._run(stage, planned, planned.key, force=force)
        else:
            self.emit("stage_cached", f"{stage.name}: cached", stage=stage.name, key=artifact.key)
        # Before it is accepted, so that the run and its report have what a refused stage made.
        self.artifacts[stage.name] = artifact
        self.record.link(artifact)
        if stage.accept is not None:
            stage.accept(self._section(stage), artifact, self.record.path)

    def export_to(self, folder: ExportFolder) -> None:
        """Copy the exports to a folder of the user's."""
        names = folder.write(self.artifacts[exporting_stage()])
        self.exported_to = folder.path
        self.emit(
            "exported",
            f"exported {', '.join(names)} to {folder.path}",
            folder=str(folder.path.absolute()),
            exports=list(names),
        )

    def check_data(self) -> None:
        """Check later stages against the data set, as soon as that is complete."""
        extending = [
            name for name in self.selection.names if stages.stage_named(name).extends_dataset
        ]
        if self._data_checked or not self.artifacts.keys() >= set(extending):
            return
        dataset = dataset_view(self.artifacts)
        if dataset is not None:
            self._checking_data = True
            if self.check_dataset is not None:
                self.check_dataset(dataset)
            check_data(self.recipe, self.selection.names, dataset)
            self._checking_data, self._data_checked = False, True

    def _run(self, stage: Stage, planned: StagePlan, key: str, *, force: bool) -> Artifact:
        """Run a stage and commit its artifact, unless another run does so first."""
        name, started = stage.name, time.monotonic()

        def waiting() -> None:
            line = f"{name}: waiting for another run, which is producing it"
            self.emit("stage_waiting", line, stage=name)

        with explained(self.store.cache), self.store.lock(name, key, waiting) as lock:
            found = self.store.find(name, key)
            if found and (not force or found.manifest["created"] > self.record.started):
                line = f"{name}: cached (another run produced it)"
                self.emit("stage_cached", line, stage=name, key=key)
                return found
            self.emit(
                "stage_started",
                f"{name}: running{_listed(planned.reasons)}",
                stage=name,
                key=key,
                reasons=list(planned.reasons),
            )
            job = self._job(stage, key)
            section = self._section(stage)
            check_unchanged(name, section, planned.identity)
            try:
                result = self.processes.run(job, lock, computes=stage.ranks)
            except DataError as error:
                raise with_declaration(self.recipe, name, section, error) from error
            if stage.rechecks_live:
                check_unchanged(name, section, planned.identity)
            seconds = time.monotonic() - started
            made = manifest(
                stage=name,
                key=key,
                identity=planned.identity,
                inputs=planned.identity["inputs"],
                summary=result.summary,
                by_products=[(kind, used) for kind, used in result.by_products],
                seconds=round(seconds, 2),
                peak_bytes=result.peak_bytes,
                ranks=job.ranks,
                device=result.device,
            )
            self.store.commit(name, key, {**made, "recipe": self.recipe.name})
        self.ran.append(name)
        self.emit(
            "stage_finished",
            f"{name}: finished in {duration(seconds)}",
            stage=name,
            key=key,
            seconds=made["seconds"],
            summary=made["summary"],
        )
        return Artifact(name, key, self.store.cache / name / key)

    def _job(self, stage: Stage, key: str) -> Job:
        partial = self.store.partial(stage.name, key)
        partial.mkdir(parents=True, exist_ok=True)
        return Job(
            stage=stage.name,
            key=key,
            run=str(self.record.path.absolute()),
            cache=str(self.store.root.absolute()),
            partial=str(partial.absolute()),
            inputs={name: artifact.key for name, artifact in self.artifacts.items()},
            ranks=self.processes.launch.ranks if stage.ranks else 1,
            command=self.record.command,
            recipe_folder=str(self.recipe.origin.folder),
            ledger=ledger_of(self.planned),
            allow_local_code=self.recipe.origin.allow_local_code,
            trust_remote_code=self.recipe.origin.trust_remote_code,
            output=self.output,
            tracker=self.tracker,
            sharding=self.processes.launch.sharding,
        )

    def _section(self, stage: Stage) -> Any:
        return getattr(self.recipe, stage.name)

    def did_nothing(self, error: RecipekitError) -> bool:
        """Whether the run failed before it computed anything or paid for a call.

        The run before it is then the one to show and to resume.
        """
        if self.ran or not (self._checking_data or found_before_work(error.code)):
            return False
        return _stored_replies(self.store) == self._replies_before

    def close_early(self, status: str, reason: str | None = None) -> None:
        """Write how a run failed, if the disk allows it; the failure itself is more important."""
        with suppress(StoreError, OSError):
            self.close(status, reason)

    def close(self, status: str, reason: str | None = None) -> Run:
        """Write how the run ended, and the report of what there is."""
        with explained(self.record.path):
            self.record.write_status(
                status, ran=self.ran, reason=reason, exported_to=self.exported_to
            )
            if self.artifacts:
                write_report(self.record.path)
        cached = tuple(name for name in self.artifacts if name not in self.ran)
        path = self.record.path.absolute()
        if self.processes.crew is not None:
            failed = None if status == "finished" else f"{status}: {reason or 'see its output'}"
            self.processes.crew.finish(path, failed, self.ran, cached)
        self.emit(
            "run_finished",
            run=str(path),
            status=status,
            reason=reason,
            ran=list(self.ran),
            cached=list(cached),
            report=_if_file(path / "report.md"),
            metrics=_if_file(path / "metrics.json"),
        )
        trusted = self.recipe.origin.trust_remote_code
        return Run(self.record.path, tuple(self.ran), cached, trust_remote_code=trusted)


def _listed(reasons: Sequence[str]) -> str:
    return f" ({'; '.join(reasons[:REASONS_SHOWN])})" if reasons else ""


def _stored_replies(store: Store) -> int:
    """How many replies of paid calls a cache has; 0 if it has none that can be read."""
    file = store.calls
    if not file.is_file():
        return 0
    try:
        with ReplyCache(file) as replies:
            return len(replies)
    except StoreError:  # the stage that needs the file reports this
        return 0


def _if_file(path: Path) -> str | None:
    return str(path) if path.is_file() else None


def _first_line(text: str) -> str:
    return text.partition("\n")[0]
