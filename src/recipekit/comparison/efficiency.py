"""What a model costs: its size, the bytes of its vectors, and its measured speed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import torch

from recipekit.comparison.kept import kept_json, texts_hash
from recipekit.comparison.models import ComparedModel
from recipekit.comparison.systems import LoadedEncoder, identity_of
from recipekit.component import Encoder
from recipekit.dataset import Dataset
from recipekit.encoding.compression_keys import CompressionKeys
from recipekit.encoding.embed_texts import embed_texts
from recipekit.encoding.max_length import UNLIMITED
from recipekit.encoding.precision import computes_in_bf16, name_device
from recipekit.records import Side, Similarity
from recipekit.stages.inputs import StageInputs

__all__ = ["Size", "Speed", "size_of", "speed_of"]

SAMPLE: Final = 1024
"""The most texts of each side whose encoding is timed."""
PART: Final = 128
"""Texts between two looks at the clock."""
PASSES: Final = 5
"""The most passes over the sample."""
SECONDS: Final = 5.0
"""Encoding is timed for about this long at most."""
WARM_UP: Final = 16
"""Texts that are encoded before: the first passes allocate memory and choose kernels."""


@dataclass(frozen=True)
class Size:
    """The size of one model."""

    dimensions: int
    parameters: int
    max_length: int | None
    """Tokens; None without a limit."""
    similarity: Similarity
    bytes_per_vector: int
    corpus_bytes: int
    """The bytes of all passages' vectors."""


@dataclass(frozen=True)
class Speed:
    """The speed of one model, with tokenizing."""

    passages_per_second: float | None
    """None where passages have stored vectors."""
    queries_per_second: float
    device: str
    """What encoded, with its number of threads if it is a CPU."""
    arithmetic: str
    """`bf16` or `fp32`."""


def size_of(model: ComparedModel, inputs: StageInputs, loaded: LoadedEncoder) -> Size:
    """Return the size of a model; the cache keeps what needs the model itself.

    Raises:
        RunError: More dimensions are to be kept than the model has.
    """
    dataset = inputs.dataset
    assert dataset is not None
    size = _own_size(model, inputs, loaded)
    keys = model.argument.compression
    model.check_dimensions(size["dimensions"])
    dimensions = model.kept_dimensions or size["dimensions"]
    stored = _bytes_per_vector(dimensions, keys)
    return Size(
        dimensions,
        size["parameters"],
        size["max_length"],
        size["similarity"],
        stored,
        stored * len(dataset.passages),
    )


def speed_of(model: ComparedModel, inputs: StageInputs, loaded: LoadedEncoder) -> Speed:
    """Return the speed of a model on texts of the data set, measured once for a device."""
    identity, dataset = identity_of(model, inputs), inputs.dataset
    assert dataset is not None
    device, spec = (
        _device(inputs.ranks.device),
        inputs.encoder_spec(model.encoder, model.weights)[0],
    )

    def speed(side: Side) -> float:
        texts = _sample(dataset, side, inputs.seed)
        whole = {"encoder": identity, "side": side, "texts": texts_hash(texts), "device": device}
        encode = _encode(model, inputs, loaded, side)
        return float(kept_json(inputs.store, "speed", whole, lambda: _per_second(encode, texts)))

    precision = _own_size(model, inputs, loaded)["precision"]
    return Speed(
        passages_per_second=None if spec.stored_passages() else speed("passage"),
        queries_per_second=speed("query"),
        device=device,
        arithmetic="bf16" if computes_in_bf16(precision, inputs.ranks.device) else "fp32",
    )


def _bytes_per_vector(dimensions: int, keys: CompressionKeys | None) -> int:
    """Return the bytes of a vector in an index: float32, one byte, or one bit for a number."""
    if keys is not None and keys.precision == "binary":
        return -(-dimensions // 8)
    return dimensions * (1 if keys is not None and keys.precision == "int8" else 4)


def _own_size(model: ComparedModel, inputs: StageInputs, loaded: LoadedEncoder) -> dict[str, Any]:
    identity = {"encoder": identity_of(model, inputs)}
    size: dict[str, Any] = kept_json(
        inputs.store, "model_size", identity, lambda: _size(loaded.get(model, inputs))
    )
    return size


def _size(encoder: Encoder) -> dict[str, Any]:
    module = cast("torch.nn.Module", encoder)
    limit = encoder.max_length
    return {
        "dimensions": encoder.dimension,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "max_length": None if limit >= UNLIMITED else limit,
        "similarity": encoder.similarity,
        "precision": encoder.precision,
    }


def _device(device: torch.device | str) -> str:
    kind = torch.device(device).type
    if kind != "cpu":
        return name_device(device)
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'' if threads == 1 else 's'} of {os.cpu_count()} cores"


def _sample(dataset: Dataset, side: Side, seed: int) -> list[str]:
    """Return texts of a side in a random order."""
    table = dataset.table(side)
    count = min(SAMPLE, len(table))
    rows = np.random.default_rng(seed).choice(len(table), size=count, replace=False)
    return table.texts(rows)


def _encode(
    model: ComparedModel, inputs: StageInputs, loaded: LoadedEncoder, side: Side
) -> Callable[[Sequence[str]], object]:
    def encode(texts: Sequence[str]) -> object:
        encoder = loaded.get(model, inputs)
        return embed_texts(encoder, texts, side, inputs.ranks, inputs.progress)

    return encode


def _per_second(encode: Callable[[Sequence[str]], object], texts: Sequence[str]) -> float:
    """Return how many texts are encoded in a second, in the fastest of several passes.

    Other work on the machine only ever slows a pass down. The result of a pass is on the CPU, so
    its work is done.
    """
    encode(texts[:WARM_UP])
    began = time.perf_counter()
    best = 0.0
    for _ in range(PASSES):
        started = time.perf_counter()
        done = 0
        while done < len(texts) and (done == 0 or time.perf_counter() - began < SECONDS):
            part = texts[done : done + PART]
            encode(part)
            done += len(part)
        best = max(best, done / (time.perf_counter() - started))
        if time.perf_counter() - began >= SECONDS:
            break
    return best
