"""What the launcher of ranks and the ranks report when one of them ends without an error."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from recipekit.errors import RunError
from recipekit.pipeline import rank_launcher, worker
from recipekit.pipeline.job import Job, read_error, write_error
from recipekit.training.parallel import has_lost_rank

GLOO = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:545] Read error: Connection reset"


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job of four ranks on two machines."""
    folder = str(tmp_path)
    return Job("train", "k", folder, folder, folder, {}, 4, "recipekit run r.yaml", machines=2)


def launch(job: Job, monkeypatch: pytest.MonkeyPatch, failure: Exception) -> int:
    """Let the module that starts ranks fail; return the launcher's exit status."""

    def leave(status: int) -> NoReturn:
        raise SystemExit(status)

    def fail(*_: Any, **__: Any) -> None:
        raise failure

    monkeypatch.setattr(rank_launcher, "_end_as", leave)
    monkeypatch.setattr(rank_launcher, "leave", leave)
    monkeypatch.setattr(rank_launcher.runpy, "run_module", fail)
    monkeypatch.setattr(sys, "argv", [])
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(rank_launcher.logging, "disable", lambda level: None)
        rank_launcher.main(["torchrun", str(job.write(Path(job.run) / "job.json"))])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def child_failed(rank: int, status: int) -> ChildFailedError:
    first: Any = SimpleNamespace(exitcode=status, timestamp=1)
    error = ChildFailedError.__new__(ChildFailedError)
    error.failures = {rank: first}
    return error


@pytest.mark.parametrize(
    ("rank", "status", "message", "code"),
    [
        (3, -9, r"rank 3 on machine 1 was killed by SIGKILL \(the system kills", "RK608"),
        (0, -11, "rank 0 on machine 0 was killed by SIGSEGV$", "RK608"),
        (1, 7, "process of rank 1 on machine 0 exited with status 7 without an error", "RK609"),
    ],
)
def test_a_rank_that_ends_without_an_error_is_named(
    rank: int,
    status: int,
    message: str,
    code: str,
    job: Job,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert launch(job, monkeypatch, child_failed(rank, status)) == status
    error = read_error(job.error_file)
    assert error is not None
    assert error.code == code
    with pytest.raises(RunError, match=message):
        raise error


def test_the_error_of_a_rank_is_kept(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    write_error(job.error_file, RunError("diverged", code="RK633"))
    assert launch(job, monkeypatch, child_failed(1, 65)) == 65
    assert launch(job, monkeypatch, ConnectionError("the store is gone")) == 65
    error = read_error(job.error_file)
    assert error is not None
    assert error.message == "diverged"


def test_ranks_that_cannot_be_started_are_reported_in_one_line(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert launch(job, monkeypatch, ConnectionError("address already in use\nand more")) == 65
    error = read_error(job.error_file)
    assert error is not None
    assert error.message.startswith("ConnectionError: address already in use (traceback: ")


RANK = """\
import os, signal
if os.environ["RANK"] == "1":
    os.kill(os.getpid(), signal.SIGKILL)
signal.pause()
"""


@pytest.mark.slow
def test_a_rank_that_is_killed_ends_the_others(job: Job, tmp_path: Path) -> None:
    (tmp_path / "rank.py").write_text(RANK)
    job_file = str(job.write(tmp_path / "job.json"))
    launcher = [sys.executable, "-m", "recipekit.pipeline.rank_launcher"]
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    ended = subprocess.run(
        [*launcher, *torchrun, str(tmp_path / "rank.py"), job_file],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == -signal.SIGKILL
    assert ended.stderr == ""
    error = read_error(job.error_file)
    assert error is not None
    assert error.message.startswith("rank 1 on machine 0 was killed by SIGKILL")


# Ranks that have lost another
# -------------------------------------------------------------------------------------------------


def test_an_error_about_another_rank_is_recognized() -> None:
    assert has_lost_rank(RuntimeError(GLOO))
    error = ValueError("cannot load")
    error.__cause__ = RuntimeError("Broken pipe")
    assert has_lost_rank(error)
    assert not has_lost_rank(ConnectionError("Connection reset by peer"))  # of a server
    assert not has_lost_rank(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


@pytest.mark.parametrize("cause", [None, "rank 2 on machine 1 was killed by SIGKILL"])
def test_a_rank_that_has_lost_another_reports_it_unless_the_cause_is_known(
    cause: str | None, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if cause:
            write_error(job.error_file, RunError(cause, code="RK608"))

    def fail(job: Job) -> None:
        raise RuntimeError(GLOO)

    monkeypatch.setattr(worker, "die_with_parent", lambda: None)
    monkeypatch.setattr(worker, "run_stage", fail)
    monkeypatch.setattr(worker.time, "sleep", wait)
    monkeypatch.setenv("RANK", "1")
    assert worker.main(str(job.write(Path(job.run) / "job.json"))) == 65
    assert waited == [worker.SECONDS_FOR_THE_CAUSE]
    error = read_error(job.error_file)
    assert error is not None
    if cause:
        assert error.message == cause
    else:
        assert error.code == "RK629"
        assert error.message == (
            "rank 1 on machine 0 lost its connection to another rank (traceback: "
            f"{job.run}/train.traceback.txt)"
        )
        assert GLOO in Path(job.run, "train.traceback.txt").read_text()
