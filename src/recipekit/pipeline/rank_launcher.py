"""Runs a module that starts ranks, and ends with the runner: `rank_launcher MODULE ARGUMENTS...`.

The ranks end when the module's process does. Without this, a runner that is killed would leave them
behind.
"""

from __future__ import annotations

import runpy
import sys

from recipekit.pipeline.worker import die_with_parent

if __name__ == "__main__":
    die_with_parent()
    module = sys.argv.pop(1)
    runpy.run_module(module, run_name="__main__", alter_sys=True)
