"""Errors on a full and a read-only disk: a small file system, mounted in a new namespace."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
RECIPE = """\
recipe: 1
name: broken
collect:
  sources:
    own: {use: pairs, file: pairs.jsonl}
"""


def namespaces_work() -> bool:
    if shutil.which("unshare") is None:
        return False
    return (
        subprocess.run(
            [*NAMESPACE, "mount -t tmpfs none /mnt"], capture_output=True, check=False
        ).returncode
        == 0
    )


@pytest.mark.slow
@pytest.mark.skipif(
    not namespaces_work(),
    reason="this system gives no mount namespaces to test full and read-only disks in",
)
@pytest.mark.parametrize(
    ("case", "options"), [("disk-full", "size=300k"), ("disk-read-only", "ro")]
)
def test_a_disk_that_cannot_be_written_is_one_clear_error(
    case: str, options: str, tmp_path: Path
) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "cache").mkdir()
    with (tmp_path / "pairs.jsonl").open("w") as file:
        for i in range(20_000):
            file.write(
                json.dumps({"query": f"what is {i}", "positive": f"the number {i} {'x' * 50}"})
                + "\n"
            )
    run = f"{sys.executable} -m recipekit run recipe.yaml --cache cache"
    script = f"mount -t tmpfs -o {options} none cache && {run}"
    ended = subprocess.run(
        [*NAMESPACE, script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    expected = (Path(__file__).parent / case / "expected.txt").read_text()
    assert ended.stderr.replace(f"{tmp_path}/", "") == expected
