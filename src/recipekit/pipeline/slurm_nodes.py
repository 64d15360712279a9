"""SLURM's short form of a list of nodes, such as `gpu[03-05,9],rack[0-1]node[0-3]-ib`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from typing import Final

from recipekit.errors import RunError

__all__ = ["expand_nodes"]

NODES: Final = r"(?:[^\s,\[\]]|\[[^\[\]]+\])+"
"""One part of the list: text without commas, and brackets with numbers."""


def expand_nodes(nodes: str) -> list[str]:
    """Return the nodes of a list in its order, as `scontrol show hostnames` does.

    Brackets hold numbers and ranges, whose numbers have at least as many digits as the first one:
    `[08-10]` is 08, 09 and 10. Of several pairs of brackets, the last one changes fastest.

    Raises:
        RunError: It is not such a list.
    """
    if re.fullmatch(f"{NODES}(?:,{NODES})*", nodes) is None:
        raise _unreadable(nodes)
    return [node for part in re.findall(NODES, nodes) for node in _expand(part, nodes)]


def _expand(part: str, nodes: str) -> Iterator[str]:
    """Yield the nodes of one part of the list."""
    # Every second piece is the content of a pair of brackets.
    pieces = re.split(r"\[([^\[\]]+)\]", part)
    choices = [
        list(_numbers(piece, nodes)) if place % 2 else [piece] for place, piece in enumerate(pieces)
    ]
    return map("".join, product(*choices))


def _numbers(ranges: str, nodes: str) -> Iterator[str]:
    """Yield the numbers of `03-05,9`."""
    for one in ranges.split(","):
        found = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", one)
        if found is None:
            raise _unreadable(nodes)
        first, last = found[1], found[2] or found[1]
        if int(last) < int(first):
            raise _unreadable(nodes)
        for number in range(int(first), int(last) + 1):
            yield f"{number:0{len(first)}d}"


def _unreadable(nodes: str) -> RunError:
    return RunError(
        f"SLURM_STEP_NODELIST: {nodes!r} is not a list of nodes such as gpu[03-05,9]; name the "
        "first node as main_process_ip in Accelerate's configuration",
        code="RK602",
    )
