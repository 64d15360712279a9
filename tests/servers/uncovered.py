"""Reports at the end of a test session what was not covered, and why."""

from collections.abc import Generator
from typing import NoReturn

import pytest

__all__ = ["UNCOVERED", "skip"]

UNCOVERED: dict[str, str] = {}
"""The reason, by what was not covered."""


def skip(what: str, why: str) -> NoReturn:
    """Skip a test, and report at the end of the session that this was not covered."""
    UNCOVERED[what] = why
    pytest.skip(f"{what}: {why}")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, object, object]:
    """Print what was not covered after pytest's own summary."""
    result = yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if UNCOVERED and reporter:
        reporter.section("not covered")
        for what, why in sorted(UNCOVERED.items()):
            reporter.line(f"{what}: {why}")
    return result
