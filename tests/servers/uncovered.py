"""What a test session could not cover, and why: the last lines of pytest tell it."""

from collections.abc import Generator
from typing import NoReturn

import pytest

__all__ = ["UNCOVERED", "skip"]

UNCOVERED: dict[str, str] = {}
"""By what was not covered, the reason."""


def skip(what: str, why: str) -> NoReturn:
    """Skip a test, and tell at the session's end that this was not covered."""
    UNCOVERED[what] = why
    pytest.skip(f"{what}: {why}")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, object, object]:
    """Say last, after pytest's own summary, what this session says nothing about."""
    result = yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if UNCOVERED and reporter:
        reporter.section("not covered")
        for what, why in sorted(UNCOVERED.items()):
            reporter.line(f"{what}: {why}")
    return result
