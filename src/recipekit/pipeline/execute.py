"""Executing a recipe: plan, make what is missing, stage by stage, each in a process of its own, and
report.

A run's folder is `runs/<recipe>/<utc>-<key>/`: the recipe as given and as resolved, the plan, the
log, links to the stages' artifacts, metrics and report. `runs/<recipe>/latest` links to the newest
one.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from recipekit.artifacts.key import key_of
from recipekit.artifacts.manifest import manifest
from recipekit.artifacts.store import Artifact, Store, explained, write_json
from recipekit.dataset import Dataset
from recipekit.errors import RecipekitError, RunError
from recipekit.judging.reliability import RELIABILITY_FILE, enforce_floors
from recipekit.pipeline.fork_server import ForkServer
from recipekit.pipeline.job import EXIT_NO_SPACE, Job, read_error
from recipekit.pipeline.launch import Launch
from recipekit.pipeline.live_components import check_unchanged
from recipekit.pipeline.plan import CACHE, Plan, StagePlan, plan
from recipekit.pipeline.preflight import check_data, check_servers
from recipekit.recipe.environment import redact
from recipekit.recipe.fill import filled
from recipekit.recipe.sections import Recipe
from recipekit.report.numbers import duration
from recipekit.report.render import write_report
from recipekit.stages.judge.summary import pairs_over_budget
from recipekit.stages.pipeline import PIPELINE, stage_named
from recipekit.suggestions import did_you_mean

__all__ = ["Run", "run"]

RUNS = Path("runs")


@dataclass(frozen=True)
class Run:
    """A finished run."""

    path: Path
    """Its folder: `report.md`, `metrics.json`, `stages/`, `log.jsonl`."""
    made: tuple[str, ...]
    """The stages that were made."""
    reused: tuple[str, ...]
    """The stages that were there already."""

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """Rows `{evaluator, split, system, metric, value, low, high, queries}`; empty for a recipe
        that evaluates nothing.
        """
        file = self.path / "metrics.json"
        rows: list[dict[str, Any]] = json.loads(file.read_text()) if file.is_file() else []
        return rows


def run(
    recipe: Recipe,
    *,
    cache: Path | str = CACHE,
    runs: Path | str = RUNS,
    start: str | None = None,
    until: str | None = None,
    launch: Launch | None = None,
    command: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Run:
    """Execute a recipe.

    Args:
        recipe: A loaded recipe.
        cache: The cache's folder; artifacts that are there already are not made again.
        runs: Where the folder of this run is made.
        start: Make this stage and those after it anew, even where they are there.
        until: Stop after this stage.
        launch: How the processes are started; one process on the best device by default.
        command: The command that repeats this run, for the report.
        say: Receives lines for people.

    Raises:
        RunError: A stage failed, was killed, or is none of the recipe's.
        RecipekitError: What a stage found wrong.
    """
    planned = plan(recipe, cache=cache)
    names = [stage.stage for stage in planned]
    _check_range(names, start, until)
    execution = _Execution(
        recipe,
        Store(Path(cache)),
        _new_folder(Path(runs), planned),
        launch or Launch(),
        command,
        say,
    )
    forced = set(names[names.index(start) :]) if start else set()
    try:
        execution.open(planned)
        wanted = names[: names.index(until) + 1] if until else names
        to_make = [
            stage.stage
            for stage in planned
            if stage.stage in wanted and (stage.stage in forced or stage.state != "hit")
        ]
        execution.warm_up(to_make)
        # The first asks its servers itself, at once; and a judge whose every answer is kept needs
        # none.
        check_servers(recipe, to_make[1:])
        for name in wanted:
            execution.stage(name, force=name in forced)
            if name == "collect":
                collected = execution.artifacts["collect"]
                check_data(recipe, wanted, Dataset(collected.path, collected.key))
        return execution.close("finished")
    except KeyboardInterrupt:
        execution.close("interrupted")
        raise RunError(
            f"interrupted; what is finished is kept. To go on: {execution.command}", code="RK606"
        ) from None
    except RecipekitError as error:
        execution.close("failed", error.message.partition("\n")[0])
        raise
    except (
        Exception
    ) as error:  # whoever read our output is gone, or it is nobody's mistake that we know of
        execution.close("failed", f"{type(error).__name__}: {error}".partition("\n")[0])
        raise
    finally:
        if execution.warm:
            execution.warm.close()


def _check_range(names: Sequence[str], start: str | None, until: str | None) -> None:
    """Refuse a first and a last stage between which a recipe's stages have nothing."""
    for flag, name in (("--from", start), ("--until", until)):
        if name is not None and name not in names:
            meant = did_you_mean(name, names) or f" It has {', '.join(names)}."
            raise RunError(f"{flag} {name}: this recipe has no such stage.{meant}", code="RK605")
    if start and until and names.index(start) > names.index(until):
        raise RunError(
            f"--from {start} comes after --until {until}: nothing would be made", code="RK605"
        )


def _new_folder(runs: Path, planned: Plan) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    key = key_of([stage.key for stage in planned])[:8]
    folder = runs / planned.recipe / f"{stamp}-{key}"
    with explained(folder):
        for attempt in range(2, 100):
            if not folder.exists():
                break
            folder = folder.with_name(f"{stamp}-{key}-{attempt}")
        (folder / "stages").mkdir(parents=True)
    return folder


class _Execution:
    """A run under way."""

    def __init__(
        self,
        recipe: Recipe,
        store: Store,
        folder: Path,
        launch: Launch,
        command: str | None,
        say: Callable[[str], None],
    ) -> None:
        self.recipe, self.store, self.folder, self.launch, self.say = (
            recipe,
            store,
            folder,
            launch,
            say,
        )
        self.command = command or f"recipekit run {recipe.origin.path}"
        self.planned: dict[str, StagePlan] = {}
        self.warm: ForkServer | None = None
        self.artifacts: dict[str, Artifact] = {}
        self.made: list[str] = []
        self.started = datetime.now(UTC).isoformat(timespec="seconds")

    def open(self, planned: Plan) -> None:
        """Write down what will be done, before it is."""
        self.planned = {stage.stage: stage for stage in planned}
        with explained(self.folder):
            (self.folder / "recipe.yaml").write_text(self.recipe.origin.text, encoding="utf-8")
            (self.folder / "recipe.resolved.yaml").write_text(filled(self.recipe), encoding="utf-8")
            write_json(self.folder / "plan.json", planned.as_json())
            self._write_status("running")
        latest = self.folder.parent / "latest"
        temporary = latest.with_name(f".latest.{os.getpid()}")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(self.folder.name)
        temporary.replace(latest)

    def warm_up(self, to_make: Collection[str]) -> None:
        """Begin the slow imports, if a stage is to be made that wants them and they can be shared."""
        wanted = any(stage.ranks and stage.name in to_make for stage in PIPELINE)
        if wanted and self.launch.ranks == 1 and sys.platform == "linux":
            self.warm = ForkServer(self.launch.environment())

    def stage(self, name: str, *, force: bool) -> None:
        """Make one stage, or find it made."""
        planned = self.planned[name]
        if (
            planned.key is None
        ):  # perhaps the stages before it brought what was unknown, a downloaded revision for one
            self.planned = {
                stage.stage: stage for stage in plan(self.recipe, cache=self.store.root)
            }
            planned = self.planned[name]
        if planned.key is None:
            raise RunError(f"{name} cannot run: {'; '.join(planned.why)}", code="RK607")
        artifact = self.store.find(name, planned.key)
        if artifact is None or force:
            artifact = self._make(planned, force=force)
        else:
            self.say(f"{name}: made before, reused")
        if name == "judge":
            self._trusted(artifact)
        self.artifacts[name] = artifact
        link = self.folder / "stages" / name
        link.symlink_to(os.path.relpath(artifact.path.absolute(), link.parent.absolute()))

    def _trusted(self, artifact: Artifact) -> None:
        """Hold judgments against what the recipe requires now: no part of their key, so they may
        have been made under other floors.
        """
        file = artifact.path / RELIABILITY_FILE
        if self.recipe.judge and file.is_file():
            left = pairs_over_budget(artifact.manifest["summary"]["judges"])
            try:
                look = str(self.folder / RELIABILITY_FILE)
                enforce_floors(
                    json.loads(file.read_text(encoding="utf-8")),
                    self.recipe.judge.require,
                    look=look,
                    unpaid=left,
                )
            except RunError:
                shutil.copyfile(file, self.folder / RELIABILITY_FILE)
                raise

    def _make(self, planned: StagePlan, *, force: bool) -> Artifact:
        name, key = planned.stage, str(planned.key)
        started = time.monotonic()
        with (
            explained(self.store.cache),
            self.store.lock(
                name, key, lambda: self.say(f"{name}: another run is making it; waiting")
            ) as lock,
        ):
            found = self.store.find(name, key)
            if found and (not force or found.manifest["made"] > self.started):
                self.say(f"{name}: made by another run, reused")
                return found
            reasons = f" ({'; '.join(planned.why[:3])})" if planned.why else ""
            self.say(f"{name}: started{reasons}")
            partial = self.store.cache / name / f"{key}.partial"
            partial.mkdir(parents=True, exist_ok=True)
            section = getattr(self.recipe, name)
            check_unchanged(name, section, planned.identity)
            told = self._in_process(name, key, partial, lock)
            if (
                name != "collect"
            ):  # a source has read one point in time; what is written afterwards changes nothing
                check_unchanged(name, section, planned.identity)
            seconds = time.monotonic() - started
            stage = stage_named(name)
            made = manifest(
                stage=name,
                key=key,
                identity=planned.identity,
                inputs=planned.identity["inputs"],
                summary=told["summary"],
                uses=[(stage_name, used) for stage_name, used in told["uses"]],
                seconds=round(seconds, 2),
                peak_bytes=told["peak_bytes"],
                ranks=self.launch.ranks if stage.ranks else 1,
                device=told["device"],
            )
            self.store.commit(name, key, {**made, "recipe": self.recipe.name})
        self.made.append(name)
        self.say(f"{name}: done in {duration(seconds)}")
        return Artifact(name, key, self.store.cache / name / key)

    def _in_process(self, name: str, key: str, partial: Path, lock: IO[str]) -> dict[str, Any]:
        """Run a stage in its process (or ranks), and give what it told."""
        stage = stage_named(name)
        job = Job(
            stage=name,
            key=key,
            run=str(self.folder.absolute()),
            cache=str(self.store.root.absolute()),
            partial=str(partial.absolute()),
            inputs={stage_name: artifact.key for stage_name, artifact in self.artifacts.items()},
            ranks=self.launch.ranks if stage.ranks else 1,
            command=self.command,
            allow_local_code=self.recipe.origin.allow_local_code,
        )
        job_file = job.write(self.folder / f"{name}.job.json")
        if self.warm and stage.ranks:
            status = self.warm.run(job_file, lock)
        else:
            with _ended_with_us(
                self.launch.command(job_file, ranks=stage.ranks), self.launch.environment(), lock
            ) as process:
                status = process.wait()
        job_file.unlink()
        error_file, result_file = (
            self.folder / f"{name}.error.json",
            self.folder / f"{name}.result.json",
        )
        if status == 0 and result_file.is_file():
            told: dict[str, Any] = json.loads(result_file.read_text())
            result_file.unlink()
            return told
        raise self._failure(name, status, read_error(error_file))

    def _failure(self, name: str, status: int, told: RecipekitError | None) -> RecipekitError:
        """What to tell of a stage that did not end well."""
        go_on = f"Finished stages are kept. To go on: {self.command}"
        if told is not None:
            return told.with_message(f"{name}: {told.message}\n{go_on}")
        if status == EXIT_NO_SPACE:
            return RunError(
                f"{name}: no space left on the disk of {self.store.root}. {go_on}", code="RK501"
            )
        if status < 0:
            hint = (
                " (the system kills what takes too much memory)"
                if -status == signal.SIGKILL
                else ""
            )
            return RunError(
                f"{name}: killed by {signal.Signals(-status).name}{hint}. {go_on}", code="RK608"
            )
        return RunError(
            f"{name}: its process ended with status {status} and told no reason. {go_on}",
            code="RK609",
        )

    def close(self, status: str, why: str | None = None) -> Run:
        """Write the report of what there is, and how the run ended."""
        with explained(self.folder):
            self._write_status(status, **({"why": redact(why)} if why else {}))
            if self.artifacts:
                write_report(self.folder)
        return Run(
            self.folder,
            tuple(self.made),
            tuple(name for name in self.artifacts if name not in self.made),
        )

    def _write_status(self, status: str, **more: str) -> None:
        finished = None if status == "running" else datetime.now(UTC).isoformat(timespec="seconds")
        told = {
            "recipe": str(self.recipe.origin.path),
            "name": self.recipe.name,
            "seed": self.recipe.seed,
            "command": self.command,
        }
        write_json(
            self.folder / "run.json",
            {
                **told,
                "started": self.started,
                "finished": finished,
                "status": status,
                **more,
                "made": self.made,
            },
        )


@contextmanager
def _ended_with_us(
    command: list[str], environment: dict[str, str], lock: IO[str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the artifact's lock too, so that nobody else starts while it lives, and
    that we never leave behind.
    """
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, pass_fds=(lock.fileno(),)
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
