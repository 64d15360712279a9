"""A run under way: its stages run one after the other, or are taken from the cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipekit import stages
from recipekit.artifacts.key import FileHashes
from recipekit.artifacts.manifest import manifest
from recipekit.artifacts.storage_errors import explained
from recipekit.artifacts.store import Artifact, Store
from recipekit.error_codes import found_before_work
from recipekit.errors import (
    ComponentError,
    DataError,
    ModelError,
    RecipekitError,
    RunError,
    StoreError,
)
from recipekit.llm.reply_cache import ReplyCache
from recipekit.pipeline.declared_files import with_declaration, with_location
from recipekit.pipeline.export_folder import ExportFolder, exporting_stage
from recipekit.pipeline.job import Job
from recipekit.pipeline.ledger import ledger_of
from recipekit.pipeline.live_components import check_unchanged
from recipekit.pipeline.plan import Plan, StagePlan, make_plan
from recipekit.pipeline.preflight import check_data, check_servers, key_notes
from recipekit.pipeline.progress import ConsoleProgress
from recipekit.pipeline.report import write_report
from recipekit.pipeline.restarts import Restart
from recipekit.pipeline.run_events import OnEvent, Output, RunEvent
from recipekit.pipeline.run_record import RunRecord
from recipekit.pipeline.run_result import Run
from recipekit.pipeline.selection import Selection
from recipekit.pipeline.stage_process import StageProcesses
from recipekit.recipe.sections import PaidSection
from recipekit.report.numbers import duration
from recipekit.stages.dataset_view import dataset_view
from recipekit.stages.stage import Stage

if TYPE_CHECKING:
    from recipekit.dataset import Dataset

__all__ = ["Execution"]

REASONS_SHOWN = 3


class Execution:
    """A run under way."""

    def __init__(
        self,
        record: RunRecord,
        planned: Plan,
        selection: Selection,
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
        self.restarts: list[dict[str, Any]] = []
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
        """Start the slow imports, show warnings about keys, and check the servers of the stages.

        A recipe without encoders rarely needs the slow imports.
        """
        computes = any(stages.stage_named(name).ranks for name in self.selection.to_run)
        if computes and self.recipe.encoders:
            self.processes.warm_up()
        for stage, note in key_notes(self.recipe, self.selection.to_run):
            self.emit("warning", stage=stage, message=note)
            self._warn(stage, note)
        if reach:
            check_servers(self.recipe, self._stages_with_servers())

    def _stages_with_servers(self) -> list[str]:
        """Return the stages whose servers are checked: all but a first one that pays for calls.

        It connects at once, unless its replies are all cached, and then it needs no server.
        """
        to_run = self.selection.to_run
        pays = bool(to_run) and isinstance(getattr(self.recipe, to_run[0]), PaidSection)
        return to_run[1:] if pays else to_run

    def stage(self, stage: Stage) -> None:
        """Run one stage, or take it from the cache."""
        planned = self.planned[stage.name]
        if planned.key is None:  # an earlier stage may have supplied what was unknown
            self.planned = make_plan(
                self.recipe, self.store, self.hashes, start=self.selection.start
            )
            self.hashes.save()
            self.record.write_plan(self.planned)
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
        names = self.selection.names
        extending = [name for name in stages.dataset_stage_names() if name in names]
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
                result = self.processes.run(
                    job,
                    lock,
                    computes=stage.ranks,
                    restarting=lambda error, number: self._restarting(
                        Restart.of(stage, Path(job.partial), error, number)
                    ),
                )
            except DataError as error:
                raise with_declaration(self.recipe, name, section, error) from error
            except (ComponentError, ModelError) as error:
                raise with_location(self.recipe, error) from error
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

    def _restarting(self, restart: Restart) -> None:
        """Report and record that a stage's ranks start again."""
        self.restarts.append(restart.fields)
        self.record.write_status("running", ran=self.ran, restarts=self.restarts)
        self.emit("stage_restarted", **restart.fields)
        self._warn(restart.stage, restart.message)

    def _warn(self, stage: str, message: str) -> None:
        """Show and log a warning; as JSON, an event has it."""
        log = self.record.path / "log.jsonl"
        progress = ConsoleProgress(log, stage, output=self.output)
        if self.output == "json":
            progress.log("warning", message=message)
        else:
            progress.warn(message)

    def _job(self, stage: Stage, key: str) -> Job:
        folder = self.store.partial(stage.name, key)
        folder.mkdir(parents=True, exist_ok=True)
        return Job(
            stage=stage.name,
            key=key,
            run=str(self.record.path.absolute()),
            cache=str(self.store.root.absolute()),
            partial=str(folder.absolute()),
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
            machines=self.processes.launch.machine_count,
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
                status,
                ran=self.ran,
                reason=reason,
                restarts=self.restarts,
                exported_to=self.exported_to,
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
            report_html=_if_file(path / "report.html"),
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
