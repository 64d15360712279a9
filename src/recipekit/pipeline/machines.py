"""Which machines run together, and which of them this is.

Accelerate's configuration states it, or the environment of a scheduler: `srun` and `torchrun` start
one `recipekit run` on each machine, which starts that machine's ranks itself.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from recipekit.errors import RunError
from recipekit.pipeline.accelerate_file import AccelerateFile
from recipekit.pipeline.slurm_nodes import expand_nodes

__all__ = ["Machines", "read_machines"]

DEFAULT_PORT = 29500
"""Accelerate's and torchrun's own default."""


@dataclass(frozen=True)
class Machines:
    """The machines of a run."""

    count: int
    number: int
    """This machine's number, from 0. Machine 0 plans, and runs what is not distributed."""
    address: str
    """The name or IP address of machine 0."""
    port: int
    """The TCP port on which machine 0 waits for the others."""


def read_machines(file: AccelerateFile) -> Machines | None:
    """Return the machines of a run, or None if there is only one.

    The environment states this machine's number, if it does, since machines that share a home
    folder share Accelerate's saved configuration.

    Args:
        file: Accelerate's configuration.

    Raises:
        RunError: Something is missing, or does not fit together.
    """
    stated_address = file.keys.get("main_process_ip")
    scheduled = _from_torchrun() or _from_slurm(stated_address)
    stated = file.whole("num_machines") or 1
    if scheduled is None and stated == 1:
        return None
    count = stated if scheduled is None else scheduled.count
    if stated not in (1, count):
        raise file.refusal(f"num_machines is {stated}, but the scheduler started {count} machines")
    number = (file.whole("machine_rank") or 0) if scheduled is None else scheduled.number
    address = stated_address or (scheduled.address if scheduled else None)
    if not address:
        raise file.refusal("main_process_ip is missing, the address of machine 0")
    if not 0 <= number < count:
        raise file.refusal(
            f"machine_rank is {number}, but the {count} machines are numbered from 0"
        )
    port = file.whole("main_process_port") or (scheduled.port if scheduled else DEFAULT_PORT)
    return Machines(count, number, str(address), port)


def _from_torchrun() -> Machines | None:
    """Read the environment of `torchrun --nnodes N --nproc-per-node 1 ... recipekit run`."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    _check_one_each(int(os.environ.get("LOCAL_WORLD_SIZE", "1")), "torchrun --nproc-per-node 1")
    count = int(os.environ.get("GROUP_WORLD_SIZE", "1"))
    if count == 1:
        return None
    number, address = int(os.environ["GROUP_RANK"]), os.environ["MASTER_ADDR"]
    # torchrun itself listens on the port that it names.
    return Machines(count, number, address, int(os.environ["MASTER_PORT"]) + 1)


def _from_slurm(address: str | None) -> Machines | None:
    """Read the environment of `srun --ntasks-per-node 1 recipekit run`.

    Args:
        address: That of machine 0, if it is known; else it is the first node of the step.
    """
    count = int(os.environ.get("SLURM_STEP_NUM_NODES", "1"))
    if count == 1:
        return None
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", str(count)))
    _check_one_each(-(-tasks // count), "srun --ntasks-per-node 1")
    address = address or expand_nodes(os.environ.get("SLURM_STEP_NODELIST", ""))[0]
    job = int(os.environ.get("SLURM_JOB_ID", "0"))
    # Jobs that share a node need different ports.
    port = DEFAULT_PORT + job % 1000
    return Machines(count, int(os.environ["SLURM_NODEID"]), address, port)


def _check_one_each(processes: int, command: str) -> None:
    if processes > 1:
        raise RunError(
            f"the scheduler started {processes} processes per machine: start one with `{command}`, "
            "and choose the ranks with --num-processes or in Accelerate's configuration",
            code="RK602",
        )
