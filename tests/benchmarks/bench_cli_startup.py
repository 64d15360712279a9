"""CPU time (user and system) that commands take to start, and its ratio to an empty Python.

```
python tests/benchmarks/bench_cli_startup.py
```

Each command runs several times in a new process; the least CPU time counts, since other work on
the machine only ever adds to it. The first run, which writes bytecode, does not count.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHON = sys.executable
RECIPEKIT = [PYTHON, "-m", "recipekit"]
COMMANDS: Mapping[str, Sequence[str]] = {
    "python -c pass": [PYTHON, "-c", "pass"],
    "import pydantic": [PYTHON, "-c", "import pydantic; pydantic.BaseModel"],
    "import typer": [PYTHON, "-c", "import typer"],
    "recipekit --help": [*RECIPEKIT, "--help"],
    "recipekit validate quickstart": [*RECIPEKIT, "validate", "recipes/quickstart.yaml"],
    "recipekit fill quickstart": [*RECIPEKIT, "fill", "recipes/quickstart.yaml"],
    "recipekit components": [*RECIPEKIT, "components"],
}


def cpu_seconds(command: Sequence[str], repeats: int) -> float:
    """The least CPU time of several runs, in seconds."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    times = []
    for _ in range(repeats + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True, cwd=ROOT, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times[1:])


def main() -> None:
    """Print one line per command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=10, help="Runs of each command.")
    repeats = parser.parse_args().repeats
    empty = cpu_seconds(COMMANDS["python -c pass"], repeats)
    for name, command in COMMANDS.items():
        seconds = cpu_seconds(command, repeats)
        print(f"{name:30} {1000 * seconds:6.0f} ms {seconds / empty:6.1f} x")


if __name__ == "__main__":
    main()
