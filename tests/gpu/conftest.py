"""Tests of this folder need a GPU, and are skipped elsewhere."""

import pytest
import torch

NEEDED = 2
"""GPUs of the tests that shard weights."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for item in items:
        if "tests/gpu/" not in item.path.as_posix():
            continue
        item.add_marker(pytest.mark.slow)
        wanted = NEEDED if item.get_closest_marker("several_gpus") else 1
        if count < wanted:
            item.add_marker(pytest.mark.skip(reason=f"needs {wanted} GPU(s), there are {count}"))
