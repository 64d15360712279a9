"""How the processes of a stage are started: one, or one per rank by `accelerate` or `torchrun`."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from recipekit.pipeline.machines import Machines
from recipekit.training.parallel import Sharding

__all__ = ["Launch"]


@dataclass(frozen=True)
class Launch:
    """How the processes of a stage are started."""

    ranks: int = 1
    """The ranks of all machines together."""
    cpu: bool = False
    """Do not use accelerators, even where there are some."""
    config: Path | None = None
    """Accelerate's configuration file, if there is one."""
    sharding: Sharding | None = None
    """How several ranks shard the weights of encoders; None keeps them whole."""
    machines: Machines | None = None
    """The machines that run together; None for only this one."""
    compiler: str | None = None
    """The backend of `torch.compile` for the exact softmax; None does not compile it."""
    gpus: str | None = None
    """The GPUs that processes see, such as `0,1`; None for those of the environment, or all."""

    @property
    def machine_count(self) -> int:
        """How many machines run together."""
        return self.machines.count if self.machines else 1

    def command(self, job: Path, *, ranks: bool, port: int | None = None) -> list[str]:
        """Return the command line for a job.

        Args:
            job: The job's file.
            ranks: Whether the stage computes on all ranks.
            port: The port at which the ranks of several machines meet.
        """
        child = ["-m", "recipekit.pipeline.worker", str(job)]
        if not ranks or self.ranks == 1:
            return [sys.executable, *child]
        launcher = [sys.executable, "-m", "recipekit.pipeline.rank_launcher"]
        if self.cpu:
            # `accelerate launch --cpu` starts one process where two are requested; torchrun starts
            # two.
            return [*launcher, "torch.distributed.run", *self._torchrun(port), *child]
        config = ["--config_file", str(self.config)] if self.config else []
        return [
            *launcher,
            "accelerate.commands.launch",
            "--multi_gpu",
            # Else the configuration's would replace those of the environment.
            *("--gpu_ids", self.gpus or "all"),
            *self._accelerate(port),
            *config,
            "--mixed_precision",
            "no",
            *child,
        ]

    def _torchrun(self, port: int | None) -> list[str]:
        if self.machines is None:
            return ["--standalone", "--nproc-per-node", str(self.ranks)]
        options = {
            "--nnodes": self.machines.count,
            "--node-rank": self.machines.number,
            "--nproc-per-node": self.ranks // self.machines.count,
            "--master-addr": self.machines.address,
            "--master-port": port,
        }
        return [str(word) for option in options.items() for word in option]

    def _accelerate(self, port: int | None) -> list[str]:
        options: dict[str, object] = {"--num_processes": self.ranks}
        if self.machines is not None:
            options |= {
                "--num_machines": self.machines.count,
                "--machine_rank": self.machines.number,
                "--main_process_ip": self.machines.address,
                "--main_process_port": port,
                "--rdzv_backend": "static",
            }
            return [*(str(word) for option in options.items() for word in option), "--same_network"]
        return [str(word) for option in options.items() for word in option]

    def environment(self) -> dict[str, str]:
        """Return the environment of those processes."""
        environment = {
            name: value for name, value in os.environ.items() if name not in _OF_A_SCHEDULER
        }
        environment.setdefault("TOKENIZERS_PARALLELISM", "false")
        # Without these, litellm fetches a price list and reads the project's .env at import.
        environment.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        environment.setdefault("LITELLM_MODE", "PRODUCTION")
        # Threads that wait for others sleep rather than spin. Where other processes compete for the
        # cores, encoding with MiniLM on two threads took 12.3 s of CPU time and 17 to 38 s with it,
        # and 17 s of CPU time and 24 to 54 s without.
        environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        if self.compiler is not None:
            environment["ACCELERATE_DYNAMO_BACKEND"] = self.compiler
        if self.gpus is not None:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpus
        if self.cpu:
            environment["ACCELERATE_USE_CPU"] = "true"
        if self.cpu and self.ranks > 1:
            here = self.ranks // self.machine_count
            environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // here)))
        return environment


_OF_A_SCHEDULER = frozenset(
    {
        *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "ROLE_RANK", "ROLE_WORLD_SIZE"),
        *("GROUP_RANK", "GROUP_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
        *("TORCHELASTIC_RUN_ID", "TORCHELASTIC_USE_AGENT_STORE", "TORCHELASTIC_ERROR_FILE"),
        *("TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_MAX_RESTARTS"),
    }
)
"""Variables by which a `torchrun` around the run would make a stage's process one of its ranks."""
