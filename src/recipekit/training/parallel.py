"""Data parallelism: a whole encoder on each rank, gradients summed over the ranks.

`join_ranks` is the only place that decides how processes work together. It returns
`SingleProcess` for one, and for several `DataParallel` or `recipekit.training.sharded.Sharded`.

Gradients are summed here rather than by DistributedDataParallel, which averages them, needs a
forward pass on every rank for every backward pass, and cannot backpropagate a cached gradient.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from recipekit.component import Ranks, SingleProcess, Weights
from recipekit.errors import RunError, causes

if TYPE_CHECKING:
    import torch
    from accelerate import PartialState

__all__ = ["DataParallel", "Sharding", "has_lost_rank", "join_ranks"]

LOST_CONNECTION = (
    *("gloo/transport", "Connection closed by peer", "Connection reset by peer", "Broken pipe"),
    *("failed to recv, got 0 bytes", "remote process exited or there was a network error"),
)
"""Parts of the messages of gloo, of torch's store and of NCCL about a rank that has ended."""

LONGEST_WAIT = timedelta(days=30)
"""How long ranks wait for the main rank while it works alone: a stage may judge with an LLM for
days. torch's own limit is 10 minutes on GPUs and 30 minutes on the CPU. The launcher and machine 0
end ranks whose peer was lost, so no limit is needed for that."""

UNSUPPORTED = ("ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_MEGATRON_LM")
"""Environment variables by which `accelerate launch` asks for what recipekit does not support."""


@dataclass(frozen=True)
class Sharding:
    """Weights, gradients and optimizer state are divided over the ranks (FSDP2)."""

    reshard_after_forward: bool = True
    """Whether a layer's whole weights are freed between its forward and its backward pass."""


def join_ranks(expected: int, sharding: Sharding | None = None, *, pass_divisor: int = 1) -> Ranks:
    """Join the group of ranks that the launcher started.

    Args:
        expected: How many ranks the run was started with.
        sharding: How to shard the weights over several ranks; None keeps them whole.
        pass_divisor: How many times smaller their forward passes are: see `Ranks.pass_divisor`.

    Raises:
        RunError: Fewer or more ranks formed a group, or the environment asks for DeepSpeed.
    """
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    for name in UNSUPPORTED:
        if parse_flag_from_env(name):
            raise RunError(
                f"{name} is set, which recipekit does not support: unset it, and choose "
                "FullyShardedDataParallel version 2 in `accelerate config` to shard the weights",
                code="RK636",
            )
    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))
    if state.num_processes != expected:
        raise RunError(
            f"{expected} processes were requested, but {state.num_processes} formed a group: "
            "check the Accelerate configuration",
            code="RK604",
        )
    if expected == 1:
        return SingleProcess(str(state.device))
    state.wait_for_everyone()  # ranks that cannot reach one another fail here, by torch's own limit
    _wait_up_to(LONGEST_WAIT)
    if sharding is None:
        return DataParallel(state, pass_divisor)
    from recipekit.training.sharded import Sharded

    return Sharded(state, pass_divisor, reshard_after_forward=sharding.reshard_after_forward)


def _wait_up_to(limit: timedelta) -> None:
    """Set the limit of all later collectives."""
    import torch.distributed as dist
    from torch.distributed import distributed_c10d

    # torch 2.6 has only the second.
    set_timeout = getattr(dist, "set_timeout", None) or distributed_c10d._set_pg_timeout
    set_timeout(limit)


def has_lost_rank(error: BaseException) -> bool:
    """Return whether an error says that another rank has ended or cannot be reached."""
    return any(
        isinstance(cause, RuntimeError) and any(part in str(cause) for part in LOST_CONNECTION)
        for cause in causes(error)
    )


@dataclass(frozen=True)
class DataParallel:
    """Several processes, each with a whole copy of the encoder. Implements `Ranks`.

    Weights and optimizer state are the same on all ranks, since every rank applies the same summed
    gradient. They are therefore read and written locally.
    """

    state: PartialState
    pass_divisor: int = 1
    """How many times smaller forward passes are than the recipe says."""
    _local: SingleProcess = field(init=False)

    def __post_init__(self) -> None:
        local = SingleProcess(str(self.state.device), self.state.process_index)
        object.__setattr__(self, "_local", local)

    @property
    def rank(self) -> int:
        """This process's number, from 0."""
        return int(self.state.process_index)

    @property
    def count(self) -> int:
        """How many processes there are."""
        return int(self.state.num_processes)

    @property
    def device(self) -> str:
        """This process's torch device."""
        return self._local.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files that are written once."""
        return self._local.is_main

    @property
    def machines(self) -> int:
        """How many machines the ranks run on, by the environment that torchrun sets."""
        return int(os.environ.get("GROUP_WORLD_SIZE", "1"))

    @property
    def shards_weights(self) -> bool:
        """It does not."""
        return False

    def barrier(self) -> None:
        """Return when every rank has called it."""
        self.state.wait_for_everyone()

    # Collectives over values
    # ---------------------------------------------------------------------------------------------

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """All-reduce the values in place."""
        import torch.distributed as dist

        dist.all_reduce(values, dist.ReduceOp.SUM)
        return values

    def max(self, values: torch.Tensor) -> torch.Tensor:
        """All-reduce a copy of the values."""
        import torch.distributed as dist

        largest = values.clone()
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        return largest

    def gather(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """All-gather the rows, padded to the longest rank's for the transfer."""
        import torch

        own = torch.tensor([len(rows)], device=rows.device)
        sizes = [int(size) for size in self._gather_equal(own)]
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])
        padded[: len(rows)] = rows.detach()
        parts = self._gather_equal(padded)
        return [part[:size] for part, size in zip(parts, sizes, strict=True)]

    def broadcast(self, value: Any) -> Any:
        """Return the main rank's value."""
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]

    def _gather_equal(self, values: torch.Tensor) -> list[torch.Tensor]:
        import torch
        import torch.distributed as dist

        gathered = [torch.empty_like(values) for _ in range(self.count)]
        dist.all_gather(gathered, values)
        return gathered

    # The model and its optimizer
    # ---------------------------------------------------------------------------------------------

    def prepare(self, module: torch.nn.Module) -> None:
        """Move a module to the device."""
        self._local.prepare(module)

    def sum_gradients(self, module: torch.nn.Module) -> torch.Tensor:
        """Sum all gradients in one flat transfer."""
        return self._sum(list(module.parameters()))

    def _sum(self, parameters: Sequence[torch.nn.Parameter]) -> torch.Tensor:
        import torch

        parameters = [parameter for parameter in parameters if parameter.requires_grad]
        has_gradient = [float(parameter.grad is not None) for parameter in parameters]
        counts = self.sum(torch.tensor(has_gradient, device=self.device)).tolist()
        used = [parameter for parameter, count in zip(parameters, counts, strict=True) if count > 0]
        if not used:
            return torch.tensor(True)
        flat = torch.cat(
            [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in used]
        )
        is_finite = flat.sum().isfinite()
        summed = torch.split(self.sum(flat), [parameter.numel() for parameter in used])
        for parameter, gradient in zip(used, summed, strict=True):
            parameter.grad = gradient.view_as(parameter)
        return is_finite

    def clip_gradients(self, module: torch.nn.Module, max_norm: float | None) -> float:
        """Clip the summed gradients and return their norm."""
        return self._local.clip_gradients(module, max_norm)

    def weights(self, module: torch.nn.Module) -> Weights:
        """Copy the parameters into the host's memory."""
        return self._local.weights(module)

    def set_weights(self, module: torch.nn.Module, weights: Weights) -> None:
        """Overwrite the parameters."""
        self._local.set_weights(module, weights)

    def optimizer_state(self, module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Weights:
        """Copy the optimizer's state into the host's memory."""
        return self._local.optimizer_state(module, optimizer)

    def set_optimizer_state(
        self, module: torch.nn.Module, optimizer: torch.optim.Optimizer, state: Weights
    ) -> None:
        """Restore the optimizer's state."""
        self._local.set_optimizer_state(module, optimizer, state)

    def empty(self, size: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Return a whole tensor without values."""
        return self._local.empty(size, dtype)

    def whole(self, module: torch.nn.Module) -> torch.nn.Module | None:
        """Return the module on the main rank."""
        return self._local.whole(module)
