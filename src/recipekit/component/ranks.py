"""Ranks: the processes that encode, search and train together.

`Ranks` is the only interface through which they see each other.
`SingleProcess` implements it for one process; `recipekit.training.parallel` implements it for
several with whole weights each, and `recipekit.training.sharded` for several that share them out.
The latter makes every forward and backward pass collective, so callers keep three rules:

- Every rank makes the same collective calls in the same order.
- Every rank makes the same number of forward passes. A rank without work left makes a pass over
  one short text and discards the result.
- Code outside an implementation never reads a prepared module's parameters or gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

__all__ = ["Ranks", "SingleProcess", "Weights"]

Weights = dict[str, "torch.Tensor"]
"""Tensors by name in the host's memory, whole or this rank's slices of them."""


class Ranks(Protocol):
    """The processes that work together, seen from one of them.

    Everything but the properties is collective: all ranks call it, in the same order.
    """

    @property
    def rank(self) -> int:
        """This process's number, from 0."""

    @property
    def count(self) -> int:
        """How many processes there are."""

    @property
    def device(self) -> str:
        """This process's torch device, such as `cpu` or `cuda:1`."""

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files that are written once: it is rank 0."""

    @property
    def machines(self) -> int:
        """How many machines the ranks run on.

        Only one of several machines writes to a file of a shared folder, since others may not see
        at once what it writes.
        """

    @property
    def shards_weights(self) -> bool:
        """Whether each rank holds a slice of the weights rather than all of them."""

    @property
    def pass_divisor(self) -> int:
        """How many times smaller forward passes are than a recipe's `max_tokens_per_batch`.

        It is 1, and doubles each time that the ranks start again after one ran out of memory.
        """

    def barrier(self) -> None:
        """Return when every rank has called it."""

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum of every rank's values; it may overwrite them."""

    def max(self, values: torch.Tensor) -> torch.Tensor:
        """Return the element-wise maximum of every rank's values, which stay unchanged."""

    def gather(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """Return every rank's rows `(n_rank, ...)` in rank order, without gradients.

        Ranks may have different numbers of rows.
        """

    def broadcast(self, value: Any) -> Any:
        """Return the main rank's value, which must be picklable."""

    def prepare(self, module: torch.nn.Module) -> None:
        """Move a module to the device, and shard it where the implementation shards.

        Call it before an optimizer is made over the module's parameters.
        """

    def sum_gradients(self, module: torch.nn.Module) -> torch.Tensor:
        """Sum every parameter's gradient over the ranks after the step's last backward pass.

        A parameter that has no gradient on any rank stays without one.

        Returns:
            Whether the gradient that this rank has added is finite, a scalar on its device; true
            where it is not known apart from the sum.
        """

    def clip_gradients(self, module: torch.nn.Module, max_norm: float | None) -> float:
        """Scale the gradients down to a norm of at most `max_norm`; None leaves them unchanged.

        Returns:
            The norm of all gradients before clipping.
        """

    def weights(self, module: torch.nn.Module) -> Weights:
        """Return a copy of the parameters; one that is shared appears once."""

    def set_weights(self, module: torch.nn.Module, weights: Weights) -> None:
        """Overwrite the parameters with what `weights` returned."""

    def optimizer_state(self, module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Weights:
        """Return a copy of the optimizer's state, as `PARAMETER/MOMENT`."""

    def set_optimizer_state(
        self, module: torch.nn.Module, optimizer: torch.optim.Optimizer, state: Weights
    ) -> None:
        """Restore what `optimizer_state` returned."""

    def empty(self, size: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Return a tensor without values that is divided over the ranks as a weight is.

        Args:
            size: The size of the whole tensor.
            dtype: Its type.
        """

    def whole(self, module: torch.nn.Module) -> torch.nn.Module | None:
        """Return a module with all of its weights on the main rank, and None on the others."""


@dataclass(frozen=True)
class SingleProcess:
    """One process that works alone: rank 0 of 1."""

    device: str = "cpu"
    rank: int = 0
    count: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files that are written once."""
        return self.rank == 0

    @property
    def machines(self) -> int:
        """There is one machine."""
        return 1

    @property
    def shards_weights(self) -> bool:
        """It does not."""
        return False

    @property
    def pass_divisor(self) -> int:
        """A single process makes smaller passes by itself."""
        return 1

    def barrier(self) -> None:
        """Return at once."""

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Return the values."""
        return values

    def max(self, values: torch.Tensor) -> torch.Tensor:
        """Return the values."""
        return values

    def gather(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """Return the rows."""
        return [rows.detach()]

    def broadcast(self, value: Any) -> Any:
        """Return the value."""
        return value

    def prepare(self, module: torch.nn.Module) -> None:
        """Move a module to the device."""
        module.to(self.device)

    def sum_gradients(self, module: torch.nn.Module) -> torch.Tensor:
        """Leave the gradients unchanged."""
        import torch

        return torch.tensor(True)

    def clip_gradients(self, module: torch.nn.Module, max_norm: float | None) -> float:
        """Clip the gradients and return their norm."""
        import torch

        limit = float("inf") if max_norm is None else max_norm
        return float(torch.nn.utils.clip_grad_norm_(module.parameters(), limit))

    def weights(self, module: torch.nn.Module) -> Weights:
        """Copy the parameters into the host's memory."""
        return {
            name: parameter.detach().to("cpu", copy=True).contiguous()
            for name, parameter in module.named_parameters()
        }

    def set_weights(self, module: torch.nn.Module, weights: Weights) -> None:
        """Overwrite the parameters."""
        for name, parameter in module.named_parameters():
            parameter.detach().copy_(weights[name])

    def optimizer_state(self, module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Weights:
        """Copy the optimizer's state into the host's memory."""
        return {
            f"{name}/{moment}": value.detach().to("cpu", copy=True).contiguous()
            for name, parameter in module.named_parameters()
            for moment, value in optimizer.state.get(parameter, {}).items()
        }

    def set_optimizer_state(
        self, module: torch.nn.Module, optimizer: torch.optim.Optimizer, state: Weights
    ) -> None:
        """Restore the optimizer's state.

        Every value goes to its parameter's device, where fused AdamW keeps its step count too.
        """
        parameters = dict(module.named_parameters())
        for key, value in state.items():
            name, _, moment = key.rpartition("/")
            parameter = parameters[name]
            optimizer.state[parameter][moment] = value.to(parameter.device)

    def empty(self, size: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Return a tensor without values."""
        import torch

        return torch.empty(tuple(size), dtype=dtype)

    def whole(self, module: torch.nn.Module) -> torch.nn.Module | None:
        """Return the module on the main rank."""
        return module if self.is_main else None
