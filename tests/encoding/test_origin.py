"""Errors when the Hub cannot be reached: the connection is refused, as offline mode opens none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REFUSED = "http://127.0.0.1:1"
LOOKUPS = {
    "model": ("recipekit.encoding.model_files", "hub_revision('owner/name', None)"),
    "data set": ("recipekit.sources.hub_tables", "_revision_on_hub('owner/name', 'main')"),
}


@pytest.mark.parametrize("what", LOOKUPS)
def test_a_hub_that_cannot_be_reached_is_reported_in_one_line(what: str, tmp_path: Path) -> None:
    module, call = LOOKUPS[what]
    function = call.partition("(")[0]
    code = (
        f"from {module} import {function}\n"
        "from recipekit.errors import RecipekitError\n"
        f"try: {call}\n"
        "except RecipekitError as error: print(error)"
    )
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "0",
        "HF_ENDPOINT": REFUSED,
        "HF_HOME": str(tmp_path),
    }
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert f"{what} 'owner/name'" in ended.stdout and "cannot be reached" in ended.stdout
