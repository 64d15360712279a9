"""Blocks of a report as they are printed into a pipe."""

import io
from collections.abc import Sequence

from recipekit.report.blocks import Block
from recipekit.report.terminal import print_blocks


def plain_text(blocks: Sequence[Block]) -> str:
    """Return what `print_blocks` writes into a pipe."""
    stream = io.StringIO()
    print_blocks(blocks, stream)
    return stream.getvalue()
