"""Reads Accelerate's configuration, and refuses what recipekit cannot follow.

A recipe does not describe hardware. `run` takes devices, ranks, machines and sharding from
Accelerate's saved configuration or `--accelerate-config FILE`; `--num-processes` and `--cpu`
override it. Errors are reported before any process starts.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from recipekit.errors import RunError
from recipekit.pipeline.accelerate_file import AccelerateFile, read_accelerate_file
from recipekit.pipeline.launch import Launch
from recipekit.pipeline.machines import Machines, read_machines
from recipekit.suggestions import did_you_mean
from recipekit.training.parallel import Sharding

__all__ = ["read_launch"]

SINGLE = {"NO"}
SEVERAL = {"MULTI_CPU", "MULTI_GPU", "MULTI_NPU", "MULTI_MLU", "MULTI_XPU", "XLA", "FSDP"}
INSTEAD = {
    "DEEPSPEED": "choose FullyShardedDataParallel version 2 instead, which shards the same",
    "MEGATRON_LM": "choose FullyShardedDataParallel version 2 instead",
}
"""What to choose in `accelerate config` in place of some distributed types."""
COMPILERS = (
    *("eager", "aot_eager", "inductor", "aot_ts_nvfuser", "nvprims_nvfuser", "cudagraphs", "ofi"),
    *("fx2trt", "onnxrt", "tensorrt", "aot_torchxla_trace_once", "torchxla_trace_once", "tvm"),
    *("hpu_backend", "neuron"),
)
"""Backends of `torch.compile` that Accelerate knows."""


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
    file = read_accelerate_file(config)
    kind = _kind(file)
    machines = read_machines(file)
    gpus = _listed_gpus(file)
    on_cpu = cpu or file.flag("use_cpu") or kind == "MULTI_CPU" or not _has_accelerator()
    stated = file.whole("num_processes")
    wanted = num_processes or (stated if kind in SEVERAL else None)
    ranks = _ranks(wanted, machines, None if on_cpu else _gpus(gpus), given=num_processes)
    sharding = _sharding(file) if kind == "FSDP" and ranks > 1 else None
    return Launch(ranks, on_cpu, file.path, sharding, machines, _compiler(file), gpus)


def _kind(file: AccelerateFile) -> str:
    """Return the distributed type, from the environment of `accelerate launch` if it has one."""
    stated = file.keys.get("distributed_type", "NO")
    kind = "NO" if stated is False else str(stated).upper()  # YAML reads a bare NO as false
    if kind not in SINGLE | SEVERAL:
        what = INSTEAD.get(kind, "use FSDP, MULTI_GPU, MULTI_CPU or NO")
        raise file.unsupported(f"distributed_type {kind} is not supported; {what}")
    for name, value in file.below("parallelism_config").keys.items():
        if name != "parallelism_config_dp_shard_size" and isinstance(value, int) and value > 1:
            raise file.unsupported(f"{name} {value} is not supported; leave parallelism_config out")
    return kind


def _listed_gpus(file: AccelerateFile) -> str | None:
    """Return the GPUs that the configuration lists; None where the environment or it has all."""
    stated = file.keys.get("gpu_ids")
    if stated is None or stated == "all" or "CUDA_VISIBLE_DEVICES" in os.environ:
        return None
    gpus = str(stated).replace(" ", "")
    if isinstance(stated, bool) or not re.fullmatch(r"[\w-]+(,[\w-]+)*", gpus):
        raise file.refusal(f"gpu_ids: expected all or ids such as '0,1', found {stated!r}")
    return gpus


def _compiler(file: AccelerateFile) -> str | None:
    """Return the backend of `torch.compile`; None if nothing is compiled."""
    stated = file.below("dynamo_config").keys.get("dynamo_backend")
    backend = str(stated or "no").lower()  # YAML reads a bare NO as false
    if backend != "no" and backend not in COMPILERS:
        hint = did_you_mean(backend, COMPILERS) or f" The backends are {', '.join(COMPILERS)}."
        raise file.refusal(f"dynamo_backend: there is no backend {stated!r}.{hint}")
    return None if backend == "no" else backend


def _ranks(
    wanted: int | None, machines: Machines | None, gpus: int | None, *, given: int | None
) -> int:
    """Return the ranks of all machines together, after checking that this machine has them.

    Args:
        wanted: Their number, if one is stated.
        machines: The machines that run together.
        gpus: This machine's GPUs; None on the CPU.
        given: The command line's number.
    """
    if given is not None and given < 1:
        raise RunError(f"--num-processes {given}: at least 1", code="RK602")
    count = machines.count if machines else 1
    ranks = wanted or 0
    if ranks < 1:
        # Several machines use all of their GPUs unless the configuration states a number.
        ranks = count * max(1, gpus or 0 if machines else 0)
    if ranks % count:
        raise RunError(
            f"{ranks} processes cannot be divided over {count} machines: --num-processes counts "
            "those of all machines together",
            code="RK604",
        )
    here = ranks // count
    if gpus and here > gpus:
        raise RunError(
            f"{here} processes were requested, but there are {gpus} GPUs: request at most {gpus}, "
            "or use --cpu",
            code="RK604",
        )
    return ranks


def _sharding(file: AccelerateFile) -> Sharding:
    """Return how FSDP is configured, after checking that FSDP2 can follow it."""
    fsdp = file.below("fsdp_config")
    version = fsdp.whole("fsdp_version") or 1
    if version != 2:
        raise file.unsupported(f"fsdp_version {version} is not supported; write `fsdp_version: 2`")
    if fsdp.flag("fsdp_offload_params"):
        raise file.unsupported(
            "fsdp_offload_params is not supported; write `fsdp_offload_params: false`"
        )
    if fsdp.flag("fsdp_activation_checkpointing"):
        raise file.unsupported(
            "fsdp_activation_checkpointing is not supported; write it as false, and "
            "`train.gradient_checkpointing: true` in the recipe"
        )
    return Sharding(fsdp.flag("fsdp_reshard_after_forward", default=True))


def _gpus(listed: str | None = None) -> int:
    """Count the GPUs of this machine by its device files: the runner does not import torch.

    Args:
        listed: Those that processes see; by default the environment's, or all.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") if listed is None else listed
    if visible is not None:
        return len(
            [index for index in visible.split(",") if index.strip() and index.strip() != "-1"]
        )
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def _has_accelerator() -> bool:
    return _gpus() > 0 or Path("/dev/kfd").exists() or sys.platform == "darwin"
