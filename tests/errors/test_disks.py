"""Errors on a full and a read-only disk: a small file system, mounted in a new namespace."""

import json
import re
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
    written = re.sub("[0-9a-f]{32}", "KEY", ended.stderr.replace(f"{tmp_path}/", ""))
    assert re.sub(r"scratch/\w+", "scratch/FILE", written) == expected


WRITERS = """
import json, sqlite3, sys
from pathlib import Path
import numpy as np, pyarrow as pa, torch
from safetensors.numpy import save_file
from recipekit.artifacts.storage_errors import full_disk
from recipekit.artifacts.store import write_json
from recipekit.errors import StoreError
from recipekit.llm.sqlite_errors import explain_sqlite_errors
from recipekit.tables import write_table

folder = Path(sys.argv[1])
array = np.zeros(100_000, np.int32)

def sqlite(path):
    with explain_sqlite_errors(path), sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("INSERT INTO t VALUES (zeroblob(400000))")

schema = pa.schema([("x", pa.int32())])
writers = {
    "arrow": lambda path: write_table(path, schema, [pa.table([array], schema=schema)]),
    "text": lambda path: path.write_text("x" * 400_000),
    "json": lambda path: write_json(path, "x" * 400_000),
    "tofile": lambda path: array.tofile(path),
    "npy": lambda path: np.save(path, array),
    "safetensors": lambda path: save_file({"x": array}, path),
    "torch": lambda path: torch.save(torch.from_numpy(array), path),
    "sqlite": sqlite,
}
for name, write in writers.items():
    path = folder / f"file.{name}"
    try:
        write(path)
    except StoreError as error:
        print(name, error.code, error.message)
    except Exception as error:
        found = full_disk(error, [folder], path)
        print(name, *((found.code, found.message) if found else (type(error), error)))
    else:
        print(name, "was written")
    for file in folder.iterdir():
        file.unlink()
"""
NAMES = ["arrow", "text", "json", "tofile", "npy", "safetensors", "torch", "sqlite"]


@pytest.mark.slow
@pytest.mark.skipif(
    not namespaces_work(), reason="this system gives no mount namespaces to test a full disk in"
)
def test_every_writer_names_the_full_disk_and_the_file(tmp_path: Path) -> None:
    program = tmp_path / "writers.py"
    program.write_text(WRITERS)
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f"mount -t tmpfs -o size=64k none disk && {sys.executable} writers.py {disk}"
    ended = subprocess.run(
        [*NAMESPACE, script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    lines = ended.stdout.splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    for name, line in zip(NAMES, lines, strict=True):
        assert line.startswith(f"{name} RK501 no space left on the disk of {disk}"), line
        assert f"file.{name}" in line


@pytest.mark.slow
def test_every_writer_names_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    program = tmp_path / "writers.py"
    program.write_text(
        "import resource\n"
        "limit = 65536, resource.getrlimit(resource.RLIMIT_FSIZE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, limit)\n" + WRITERS
    )
    disk = tmp_path / "disk"
    disk.mkdir()
    ended = subprocess.run(
        [sys.executable, "-B", "writers.py", str(disk)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = ended.stdout.splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    for name, line in zip(NAMES, lines, strict=True):
        assert line.startswith(f"{name} RK501 "), line
        assert f"file.{name}" in line
