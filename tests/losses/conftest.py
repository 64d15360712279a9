"""Judged queries for the tests of losses."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from recipekit.records import Verdict


@pytest.fixture
def judged() -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Verdicts and grades of 6 queries over 30 passages.

    Rows 3 to 5 have no positive, no negative, and only ignored passages.
    """
    rng = np.random.default_rng(5)
    verdicts = rng.choice([0, 0, 0, 1, 2], size=(6, 30)).astype(np.int8)
    verdicts[3] = np.where(verdicts[3] == Verdict.POSITIVE, Verdict.NEGATIVE, verdicts[3])
    verdicts[4] = np.where(verdicts[4] == Verdict.NEGATIVE, Verdict.IGNORE, verdicts[4])
    verdicts[5] = Verdict.IGNORE
    return verdicts, rng.integers(1, 4, size=verdicts.shape).astype(np.float32)
