"""Reads Accelerate's configuration, and refuses what recipekit cannot follow.

A recipe does not describe hardware. `run` takes devices, ranks, machines and sharding from
Accelerate's saved configuration or `--accelerate-config FILE`; `--num-processes` and `--cpu`
override it. Errors are reported before any process starts.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from recipekit.errors import RunError
from recipekit.pipeline.accelerate_file import AccelerateFile, read_accelerate_file
from recipekit.pipeline.accelerators import Accelerators, find_accelerators
from recipekit.pipeline.launch import Launch
from recipekit.pipeline.machines import Machines, read_machines
from recipekit.suggestions import did_you_mean
from recipekit.training.parallel import Sharding

__all__ = ["read_launch"]

SINGLE = {"NO"}
SEVERAL = {"MULTI_CPU", "MULTI_GPU", "MULTI_NPU", "MULTI_MLU", "MULTI_XPU", "FSDP"}
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

    Only a run on several ranks, or one that lists its GPUs, looks for accelerators here. A single
    process uses the best device that torch finds when a stage starts.

    Args:
        config: An Accelerate configuration file; by default the saved one, if there is one.
        num_processes: Overrides the configuration's; the ranks of all machines together.
        cpu: Overrides the configuration's `use_cpu`.

    Raises:
        RunError: The file is missing or malformed, or requests what recipekit does not support or
            this machine does not have.
    """
    if num_processes is not None and num_processes < 1:
        raise RunError(f"--num-processes {num_processes}: at least 1", code="RK602")
    file = read_accelerate_file(config)
    kind = _kind(file)
    machines = read_machines(file)
    gpus = _listed_gpus(file)
    on_cpu = cpu or file.flag("use_cpu") or kind == "MULTI_CPU" or _environment_uses_cpu()
    stated = file.whole("num_processes")
    wanted = num_processes or (stated if kind in SEVERAL else None)
    sharding = _sharding(file) if kind == "FSDP" and wanted != 1 else None
    compiler = _compiler(file)
    found = None
    if not on_cpu and (kind in SEVERAL or gpus or machines or (wanted or 1) > 1):
        found = find_accelerators(gpus)
        if found.count == 0:
            raise _without_accelerator(file, kind, gpus)
    ranks = _ranks(wanted, machines, found)
    return Launch(
        ranks, on_cpu, file.path, sharding if ranks > 1 else None, machines, compiler, gpus
    )


def _kind(file: AccelerateFile) -> str:
    """Return the distributed type, after checking that recipekit can follow it."""
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


def _environment_uses_cpu() -> bool:
    """Return whether the environment asks for the CPU, as `accelerate launch --cpu` does."""
    stated = os.environ.get("ACCELERATE_USE_CPU", "")
    return stated.lower() in ("1", "true", "yes", "on", "t", "y")  # those of Accelerate


def _without_accelerator(file: AccelerateFile, kind: str, gpus: str | None) -> RunError:
    """Return the error that a run asks for GPUs on a machine without one."""
    asked = "several ranks need a GPU each"
    if gpus is not None:
        asked = f"{file.source}: gpu_ids {gpus} asks for GPUs"
    elif kind in SEVERAL:
        asked = f"{file.source}: distributed_type {kind} asks for GPUs"
    return RunError(
        f"{asked}, but torch finds none on this machine; to run on the CPU, use --cpu", code="RK604"
    )


def _ranks(wanted: int | None, machines: Machines | None, found: Accelerators | None) -> int:
    """Return the ranks of all machines together, after checking that this machine has them.

    Args:
        wanted: Their number; None or a number below 1 is one for each GPU.
        machines: The machines that run together.
        found: This machine's accelerators; None if they do not count.
    """
    count = machines.count if machines else 1
    ranks = wanted or 0
    if ranks < 1:
        ranks = count * (found.count if found else 1)
    if ranks % count:
        raise RunError(
            f"{ranks} processes cannot be divided over {count} machines: --num-processes counts "
            "those of all machines together",
            code="RK604",
        )
    here = ranks // count
    if found and here > found.count:
        raise RunError(
            f"{here} processes on this machine need {here} GPUs, and torch finds {found.count}: "
            f"request at most {found.count * count}, or use --cpu",
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
