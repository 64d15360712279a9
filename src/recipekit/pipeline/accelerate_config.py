"""Reads Accelerate's configuration, and refuses what recipekit cannot follow.

A recipe does not describe hardware. `run` takes devices, ranks, machines and sharding from
Accelerate's saved configuration or `--accelerate-config FILE`; `--num-processes` and `--cpu`
override it. Errors are reported before any process starts.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from recipekit.errors import RunError
from recipekit.pipeline.launch import Launch
from recipekit.pipeline.machines import Machines, read_machines
from recipekit.training.parallel import Sharding

__all__ = ["read_launch"]

SINGLE = {"NO"}
SEVERAL = {"MULTI_CPU", "MULTI_GPU", "MULTI_NPU", "MULTI_MLU", "MULTI_XPU", "XLA", "FSDP"}
INSTEAD = {
    "DEEPSPEED": "choose FullyShardedDataParallel version 2 instead, which shards the same",
    "MEGATRON_LM": "choose FullyShardedDataParallel version 2 instead",
}
"""What to choose in `accelerate config` in place of some distributed types."""


def read_launch(
    config: Path | None = None, num_processes: int | None = None, *, cpu: bool = False
) -> Launch:
    """Read how to start processes.

    Args:
        config: An Accelerate configuration file; by default the saved one, if there is one.
        num_processes: Overrides the configuration's; the ranks of all machines together.
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
    source = str(config) if config else "Accelerate configuration"
    kind = _kind(settings, source)
    machines = read_machines(settings, source)
    on_cpu = cpu or bool(settings.get("use_cpu")) or kind == "MULTI_CPU" or not _has_accelerator()
    stated = settings.get("num_processes") if kind in SEVERAL else None
    ranks = _ranks(num_processes or stated, machines, on_cpu, given=num_processes)
    sharding = _sharding(settings, source) if kind == "FSDP" and ranks > 1 else None
    backend = str((settings.get("dynamo_config") or {}).get("dynamo_backend") or "no").lower()
    compiler = None if backend == "no" else backend
    return Launch(ranks, on_cpu, config, sharding, machines, compiler)


def _kind(settings: Mapping[str, Any], source: str) -> str:
    """Return the distributed type, from the environment of `accelerate launch` if it has one."""
    stated = settings.get("distributed_type", "NO")
    kind = "NO" if stated is False else str(stated).upper()  # YAML reads a bare NO as false
    if kind not in SINGLE | SEVERAL:
        what = INSTEAD.get(kind, "use FSDP, MULTI_GPU, MULTI_CPU or NO")
        raise RunError(f"{source}: distributed_type {kind} is not supported; {what}", code="RK603")
    for name, value in (settings.get("parallelism_config") or {}).items():
        if name != "parallelism_config_dp_shard_size" and isinstance(value, int) and value > 1:
            raise RunError(
                f"{source}: {name} {value} is not supported; leave parallelism_config out",
                code="RK603",
            )
    return kind


def _ranks(
    wanted: int | str | None, machines: Machines | None, on_cpu: bool, *, given: int | None
) -> int:
    """Return the ranks of all machines together, after checking that this machine has them."""
    if given is not None and given < 1:
        raise RunError(f"--num-processes {given}: at least 1", code="RK602")
    count, gpus = (machines.count if machines else 1), _gpus()
    ranks = int(wanted) if wanted else 0
    if ranks < 1:
        # Several machines use all of their GPUs unless the configuration states a number.
        ranks = count * max(1, 0 if on_cpu or machines is None else gpus)
    if ranks % count:
        raise RunError(
            f"{ranks} processes cannot be divided over {count} machines: --num-processes counts "
            "those of all machines together",
            code="RK604",
        )
    here = ranks // count
    if not on_cpu and gpus and here > gpus:
        raise RunError(
            f"{here} processes were requested, but there are {gpus} GPUs: request at most {gpus}, "
            "or use --cpu",
            code="RK604",
        )
    return ranks


def _sharding(settings: Mapping[str, Any], source: str) -> Sharding:
    """Return how FSDP is configured, after checking that FSDP2 can follow it."""
    fsdp = settings.get("fsdp_config") or {}
    version = int(fsdp.get("fsdp_version") or 1)
    if version != 2:
        raise RunError(
            f"{source}: fsdp_version {version} is not supported; write `fsdp_version: 2`",
            code="RK603",
        )
    if fsdp.get("fsdp_offload_params"):
        raise RunError(
            f"{source}: fsdp_offload_params is not supported; write `fsdp_offload_params: false`",
            code="RK603",
        )
    if fsdp.get("fsdp_activation_checkpointing"):
        raise RunError(
            f"{source}: fsdp_activation_checkpointing is not supported; write it as false, and "
            "`train.gradient_checkpointing: true` in the recipe",
            code="RK603",
        )
    return Sharding(bool(fsdp.get("fsdp_reshard_after_forward", True)))


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
