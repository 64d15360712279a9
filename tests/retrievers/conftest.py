import subprocess
import sys
from collections.abc import Callable

import pytest

from recipekit.engines.retry import RetryPolicy


@pytest.fixture
def assert_light() -> Callable[..., None]:
    """`assert_light(module, *heavy)`: importing a module in a new process imports none of the heavy
    ones.
    """

    def check(module: str, *heavy: str) -> None:
        program = (
            f"import sys, {module}; sys.exit(repr(sorted({set(heavy)} & set(sys.modules)) or ''))"
        )
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert ended.stderr.strip() in ("", "''"), ended.stderr

    return check


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between attempts last milliseconds, and a quarter of a second at most."""
    init = RetryPolicy.__init__
    monkeypatch.setattr(
        RetryPolicy,
        "__init__",
        lambda self, **given: init(self, **{"first": 0.001, "longest": 0.25, **given}),
    )
