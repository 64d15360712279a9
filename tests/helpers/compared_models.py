"""What compared models cost, without measuring any."""

from __future__ import annotations

from recipekit.component import Efficiency


def costs_of(dimensions: int, speed: float) -> Efficiency:
    """The costs of a small encoder with this many dimensions and passages per second."""
    return Efficiency(
        parameters=22_700_000,
        dimension=dimensions,
        bytes_per_vector=4 * dimensions,
        index_bytes=4_000_000,
        passages_per_second=speed,
        queries_per_second=10 * speed,
        device="CPU, 2 threads of 2 cores",
        precision="bf16 in fp32",
        search_ms_per_query=0.25,
    )
