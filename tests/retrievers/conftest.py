import subprocess
import sys
from collections.abc import Callable

import pytest


@pytest.fixture
def assert_light() -> Callable[..., None]:
    """`assert_light(module, *heavy)`: importing a module imports none of the heavy ones."""

    def check(module: str, *heavy: str) -> None:
        program = (
            f"import sys, {module}; sys.exit(repr(sorted({set(heavy)} & set(sys.modules)) or ''))"
        )
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert ended.stderr.strip() in ("", "''"), ended.stderr

    return check
