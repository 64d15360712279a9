"""FSDP2: each rank holds an even slice of all weights, gradients and optimizer state.

A transformer layer's weights are gathered when a forward or backward pass reaches the layer, and
freed after it (arXiv 2304.11277; `torch.distributed.fsdp.fully_shard`). They are gathered and
summed in float32, so that training differs from that on one rank only by rounding.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor import empty as empty_dtensor
from transformers import PreTrainedModel

from recipekit.component import ShardedAsOne, Weights
from recipekit.training.parallel import DataParallel
from recipekit.training.trainable import transformer_layers

__all__ = ["Sharded"]


@dataclass(frozen=True)
class Sharded(DataParallel):
    """Several processes, each with a slice of the weights. Implements `Ranks`.

    `weights` and `optimizer_state` return this rank's slices, as tensors that know the whole.
    """

    reshard_after_forward: bool = True
    """Whether a layer's whole weights are freed between its forward and its backward pass."""
    _unsharded: dict[int, nn.Module] = field(default_factory=dict)
    """Sharded modules as they were before, without weights, by the id of the module."""

    @property
    def shards_weights(self) -> bool:
        """It does."""
        return True

    @cached_property
    def _mesh(self) -> DeviceMesh:
        return init_device_mesh(torch.device(self.device).type, (self.count,))

    def prepare(self, module: nn.Module) -> None:
        """Shard a module, and move the slices to the device."""
        for root in _roots(module):
            if not isinstance(root, FSDPModule):
                self._shard(root)
        module.to(self.device)

    def _shard(self, root: nn.Module) -> None:
        """Shard one module, layer by layer."""
        blueprint = _without_weights(root)
        for part in [*transformer_layers(root), root]:
            original = type(part)
            sharded = fully_shard(
                part, mesh=self._mesh, reshard_after_forward=self.reshard_after_forward
            )
            # The gradients of ranks add up: each term is divided by the global batch already.
            sharded.set_gradient_divide_factor(1.0)
            sharded.set_force_sum_reduction_for_comms(True)
            _keep_class_name(type(part), original)
        if isinstance(root, PreTrainedModel):
            # sentence-transformers calls `model.forward`, which skips the hooks of a module.
            register_fsdp_forward_method(root, "forward")
        self._unsharded[id(root)] = blueprint
        # A tower is copied when both sides get their own; FSDP itself defines no copies.
        root.__dict__["__deepcopy__"] = lambda memo: self._copy(root, memo)

    def _copy(self, root: nn.Module, memo: dict[int, Any]) -> nn.Module:
        duplicate = self._whole(root)
        self._shard(duplicate)
        memo[id(root)] = duplicate
        return duplicate

    def _whole(self, root: nn.Module, *, keep: bool = True) -> nn.Module:
        """Return an unsharded copy of a sharded module in the host's memory.

        Args:
            root: The module.
            keep: Whether this rank needs the weights; it takes part in the transfer anyhow.
        """
        _reshard(root)
        blueprint = self._unsharded[id(root)]
        empty = dict(blueprint.named_parameters())
        filled: dict[int, Any] = {}
        for name, parameter in root.named_parameters():
            values = _gathered(parameter.detach())
            if keep:
                filled[id(empty[name])] = nn.Parameter(values.cpu(), parameter.requires_grad)
        whole = copy.deepcopy(blueprint, filled)
        for part, own in zip(root.modules(), whole.modules(), strict=True):
            own.training = part.training
        return whole

    def whole(self, module: nn.Module) -> nn.Module | None:
        """Gather a module's weights on the main rank."""
        roots = list(_roots(module))
        copies = {id(root): self._whole(root, keep=self.is_main) for root in roots}
        return copy.deepcopy(module, copies) if self.is_main else None

    def sum_gradients(self, module: nn.Module) -> torch.Tensor:
        """Sum the gradients of whole parameters; backward passes have summed those of slices."""
        return self._sum([one for one in module.parameters() if not isinstance(one, DTensor)])

    def clip_gradients(self, module: nn.Module, max_norm: float | None) -> float:
        """Clip the gradients, and return their norm.

        It is over the slices of all ranks and, once, over the whole parameters, whose gradients are
        the same on every rank.
        """
        gradients = [one.grad for one in module.parameters() if one.grad is not None]
        slices = [one for one in gradients if isinstance(one, DTensor)]
        whole = [one for one in gradients if not isinstance(one, DTensor)]
        norm = math.hypot(
            *(float(_gathered(torch.nn.utils.get_total_norm(part))) for part in (slices, whole))
        )
        if max_norm is not None and norm > max_norm:
            for gradient in gradients:
                _local(gradient).mul_(max_norm / norm)
        return norm

    def empty(self, size: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Return a tensor of which this rank holds a slice; a scalar is whole."""
        if len(size) == 0:
            return torch.empty((), dtype=dtype)
        sliced = empty_dtensor(*size, dtype=dtype, device_mesh=self._mesh, placements=[Shard(0)])
        return sliced.to("cpu")

    def weights(self, module: nn.Module) -> Weights:
        """Copy this rank's slices into the host's memory."""
        _reshard(module)
        return self._sliced(super().weights(module))

    def set_weights(self, module: nn.Module, weights: Weights) -> None:
        """Overwrite this rank's slices."""
        _reshard(module)
        super().set_weights(module, self._as_parameters(module, weights))

    def optimizer_state(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> Weights:
        """Copy this rank's slices of the optimizer's state into the host's memory."""
        return self._sliced(super().optimizer_state(module, optimizer))

    def set_optimizer_state(
        self, module: nn.Module, optimizer: torch.optim.Optimizer, state: Weights
    ) -> None:
        """Restore this rank's slices of the optimizer's state."""
        super().set_optimizer_state(module, optimizer, self._as_parameters(module, state))

    def _sliced(self, tensors: Weights) -> Weights:
        """Return this rank's slices of tensors, some of which are whole; scalars stay whole."""
        sliced = dict(tensors)
        for name, values in tensors.items():
            if not isinstance(values, DTensor) and values.ndim:
                on_all = DTensor.from_local(
                    values.to(self.device), self._mesh, [Replicate()], run_check=False
                )
                sliced[name] = on_all.redistribute(placements=[Shard(0)]).to("cpu")
        return sliced

    def _as_parameters(self, module: nn.Module, tensors: Weights) -> Weights:
        """Gather the tensors that belong to whole parameters; names are `PARAMETER[/MOMENT]`."""
        whole = {name for name, one in module.named_parameters() if not isinstance(one, DTensor)}
        return {
            name: _gathered(values.to(self.device)) if name.partition("/")[0] in whole else values
            for name, values in tensors.items()
        }


def _roots(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules that are sharded each by itself.

    These are transformers, torch's own layers, and modules that are `ShardedAsOne`. Parameters of
    other modules are few, and stay whole on each rank.
    """
    is_own_layer = type(module).__module__.startswith("torch.nn") and not list(module.children())
    if isinstance(module, PreTrainedModel | FSDPModule | ShardedAsOne) or is_own_layer:
        if any(True for _ in module.parameters()):
            yield module
    else:
        for child in module.children():
            yield from _roots(child)


def _without_weights(module: nn.Module) -> nn.Module:
    """Return a copy of a module whose parameters have a shape but no values."""
    empty: dict[int, Any] = {
        id(one): nn.Parameter(torch.empty_like(one, device="meta"), one.requires_grad)
        for one in module.parameters()
    }
    return copy.deepcopy(module, empty)


def _keep_class_name(sharded: type[nn.Module], original: type[nn.Module]) -> None:
    """Print FSDP's class of a module as the module's own class.

    transformers finds by this name which hidden states a model can return. Without, it returns
    none, and a pooling over several layers silently uses the last one alone.
    """
    sharded.__module__, sharded.__qualname__ = original.__module__, original.__qualname__


def _reshard(module: nn.Module) -> None:
    """Free whole weights that the last forward passes have left."""
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def _gathered(values: torch.Tensor) -> torch.Tensor:
    return values.full_tensor() if isinstance(values, DTensor) else values


def _local(values: torch.Tensor) -> torch.Tensor:
    return values.to_local() if isinstance(values, DTensor) else values
