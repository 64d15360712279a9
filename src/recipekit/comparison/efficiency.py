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
from recipekit.component import Efficiency, Encoder
from recipekit.dataset import Dataset
from recipekit.encoding.compression_keys import bytes_per_vector
from recipekit.encoding.embed_texts import embed_texts
from recipekit.encoding.max_length import UNLIMITED
from recipekit.encoding.model_size import count_parameters
from recipekit.encoding.precision import model_of_device, name_precision
from recipekit.records import Side, Similarity
from recipekit.stages.inputs import StageInputs

__all__ = ["EncoderFacts", "encoder_facts"]

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
class EncoderFacts:
    """What an encoder is, and what it costs."""

    max_length: int | None
    """Tokens; None without a limit."""
    similarity: Similarity
    efficiency: Efficiency
    """Speeds include tokenizing; that of search is not measured here."""


def encoder_facts(model: ComparedModel, inputs: StageInputs, loaded: LoadedEncoder) -> EncoderFacts:
    """Return the size and the speed of a model, on texts of the data set.

    The cache keeps what needs the model itself. A speed is measured once for a device.

    Raises:
        RunError: More dimensions are to be kept than the model has.
    """
    dataset, device = inputs.dataset, inputs.ranks.device
    assert dataset is not None
    size = _own_size(model, inputs, loaded)
    model.check_dimensions(size["dimensions"])
    keys = model.argument.compression
    dimension = model.kept_dimensions or size["dimensions"]
    stored = bytes_per_vector(dimension, keys.precision if keys else "fp32")
    spec, _ = inputs.encoder_spec(model.encoder, model.weights)
    embeds_passages = spec.stored_passages() is None
    efficiency = Efficiency(
        parameters=size["parameters"],
        dimension=dimension,
        bytes_per_vector=stored,
        index_bytes=stored * len(dataset.passages),
        passages_per_second=_speed(model, inputs, loaded, "passage") if embeds_passages else None,
        queries_per_second=_speed(model, inputs, loaded, "query"),
        device=_device(device),
        precision=name_precision(size["precision"], device),
    )
    return EncoderFacts(size["max_length"], size["similarity"], efficiency)


def _speed(model: ComparedModel, inputs: StageInputs, loaded: LoadedEncoder, side: Side) -> float:
    """Return how many texts of a side a model encodes in a second."""
    assert inputs.dataset is not None
    texts = _sample(inputs.dataset, side, inputs.seed)
    whole = {
        "encoder": identity_of(model, inputs),
        "side": side,
        "texts": texts_hash(texts),
        "device": _device(inputs.ranks.device),
    }
    encode = _encode(model, inputs, loaded, side)
    return float(kept_json(inputs.store, "speed", whole, lambda: _per_second(encode, texts)))


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
        "parameters": count_parameters(module),
        "max_length": None if limit >= UNLIMITED else limit,
        "similarity": encoder.similarity,
        "precision": encoder.precision,
    }


def _device(device: torch.device | str) -> str:
    kind = torch.device(device).type
    if kind != "cpu":
        return model_of_device(device)
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
