"""The Hub, where it cannot be reached: a real connection that is refused, since offline mode asks
nobody.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

NOBODY = "http://127.0.0.1:1"
ASKED = {
    "model": "from recipekit.encoding.model_files import hub_revision; hub_revision('owner/name', None)",
    "data set": "from recipekit.sources.hub_tables import _asked_revision; _asked_revision('owner/name', 'main')",
}


@pytest.mark.parametrize("what", ASKED)
def test_a_hub_that_cannot_be_reached_is_told_in_a_line(what: str, tmp_path: Path) -> None:
    code = f"from recipekit.errors import RecipekitError\ntry: {ASKED[what]}\nexcept RecipekitError as error: print(error)"
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "0",
        "HF_ENDPOINT": NOBODY,
        "HF_HOME": str(tmp_path),
    }
    asked = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert f"{what} 'owner/name'" in asked.stdout and "cannot be reached" in asked.stdout
