"""How the processes of a stage are started, from Accelerate's configuration.

A recipe does not describe hardware. `run` takes devices, ranks and sharding from Accelerate's saved
configuration or `--accelerate-config FILE`; `--num-processes` overrides both. Configuration errors
are reported before any process starts.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from recipekit.errors import RunError

__all__ = ["Launch", "read_launch"]

SINGLE = {"NO"}
SEVERAL = {"MULTI_CPU", "MULTI_GPU", "MULTI_NPU", "MULTI_MLU", "MULTI_XPU", "XLA"}


@dataclass(frozen=True)
class Launch:
    """How the processes of a stage are started."""

    ranks: int = 1
    cpu: bool = False
    """Do not use accelerators, even where there are some."""
    config: Path | None = None
    """Accelerate's configuration file, if there is one."""

    def command(self, job: Path, *, ranks: bool) -> list[str]:
        """Return the command line for a job; `ranks` is whether the stage computes on all ranks."""
        child = ["-m", "recipekit.pipeline.worker", str(job)]
        if not ranks or self.ranks == 1:
            return [sys.executable, *child]
        if self.cpu:
            # `accelerate launch --cpu` starts one process where two are requested; torchrun starts
            # two.
            return [
                sys.executable,
                "-m",
                "torch.distributed.run",
                "--standalone",
                "--nproc-per-node",
                str(self.ranks),
                *child,
            ]
        launcher = [
            sys.executable,
            "-m",
            "accelerate.commands.launch",
            "--multi_gpu",
            "--num_processes",
            str(self.ranks),
        ]
        config = ["--config_file", str(self.config)] if self.config else []
        return [*launcher, *config, "--mixed_precision", "no", *child]

    def environment(self) -> dict[str, str]:
        """Return the environment of those processes."""
        environment = dict(os.environ)
        environment.setdefault("TOKENIZERS_PARALLELISM", "false")
        # Without these, litellm fetches a price list and reads the project's .env at import.
        environment.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        environment.setdefault("LITELLM_MODE", "PRODUCTION")
        # Threads that wait for others sleep rather than spin. Where other processes compete for the
        # cores, encoding with MiniLM on two threads took 12.3 s of CPU time and 17 to 38 s with it,
        # and 17 s of CPU time and 24 to 54 s without.
        environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        if self.cpu:
            environment["ACCELERATE_USE_CPU"] = "true"
        if self.cpu and self.ranks > 1:
            environment.setdefault(
                "OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // self.ranks))
            )
        return environment


def read_launch(
    config: Path | None = None, num_processes: int | None = None, *, cpu: bool = False
) -> Launch:
    """Read how to start processes.

    Args:
        config: An Accelerate configuration file; by default the saved one, if there is one.
        num_processes: Overrides the configuration's.
        cpu: Overrides the configuration's `use_cpu`.

    Raises:
        RunError: The file is missing or malformed, or requests what recipekit does not support.
    """
    if config is not None and not config.is_file():
        raise RunError(
            f"--accelerate-config {config}: no such file; `accelerate config --config_file "
            f"{config}` writes one",
            code="RK602",
        )
    config = config or _saved()
    settings = _parse(config) if config else {}
    kind = str(settings.get("distributed_type", "NO")).upper()
    if kind not in SINGLE | SEVERAL:
        raise RunError(
            f"{config}: distributed_type {kind} is not supported; use MULTI_GPU, MULTI_CPU or NO",
            code="RK603",
        )
    if int(settings.get("num_machines", 1)) > 1:
        raise RunError(
            f"{config}: num_machines {settings['num_machines']} is not supported; use one machine",
            code="RK603",
        )
    ranks = 1
    if num_processes is not None:
        ranks = num_processes
    elif kind in SEVERAL:
        ranks = int(settings.get("num_processes", 1))
    if ranks < 1:
        raise RunError(f"--num-processes {ranks}: at least 1", code="RK602")
    on_cpu = cpu or bool(settings.get("use_cpu")) or kind == "MULTI_CPU" or not _has_accelerator()
    gpus = _gpus()
    if not on_cpu and gpus and ranks > gpus:
        raise RunError(
            f"{ranks} processes were requested, but there are {gpus} GPUs: request at most {gpus}, "
            "or use --cpu",
            code="RK604",
        )
    return Launch(ranks, on_cpu, config)


def _saved() -> Path | None:
    """Return Accelerate's saved configuration, where `accelerate config` writes it."""
    home = Path(
        os.environ.get(
            "HF_HOME",
            Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "huggingface",
        )
    )
    # os.path.isfile is False for a folder that cannot be read, such as the home of a container's
    # user.
    found = [
        path
        for name in ("default_config.yaml", "default_config.json")
        if os.path.isfile(path := home / "accelerate" / name)
    ]
    return found[0] if found else None


def _parse(config: Path) -> dict[str, Any]:
    try:
        # Accelerate's own file, so read it as Accelerate does.
        settings = yaml.safe_load(config.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RunError(
            f"{config}: not an Accelerate configuration ({str(error).splitlines()[0]})",
            code="RK602",
        ) from error
    if not isinstance(settings, dict):
        raise RunError(f"{config}: not an Accelerate configuration: no keys", code="RK602")
    return settings


def _gpus() -> int:
    """Count the GPUs of this machine by its device files: the runner does not import torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len(
            [index for index in visible.split(",") if index.strip() and index.strip() != "-1"]
        )
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def _has_accelerator() -> bool:
    return _gpus() > 0 or Path("/dev/kfd").exists() or sys.platform == "darwin"
