"""`reproduce --fresh-environment`: the locked versions in an environment of their own."""

import base64
import hashlib
import json
import sysconfig
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

from recipekit.cli.main import invoke
from recipekit.errors import RunError
from recipekit.reproduce import fresh_environment
from recipekit.reproduce.fresh_environment import make_environment, requirements
from recipekit.reproduce.lock import Lock, read_lock


def wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> None:
    """Write a wheel, for an index that is a folder."""
    stem = name.replace("-", "_")
    info = f"{stem}-{version}.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        record += f"{path},sha256={digest.decode()},{len(text)}\n"
    with zipfile.ZipFile(folder / f"{stem}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(path, text)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder from which pip installs, and nothing else."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setattr(fresh_environment, "_direct_url", lambda *_: None)
    return folder


def lock_with(**versions: str) -> Lock:
    return Lock("small", "3.11.0", "cpu", versions)


def test_requirements_are_the_locked_versions_without_a_build() -> None:
    assert requirements(lock_with(zzz="2.9.0+cu130", aaa="1.0")) == ["aaa==1.0", "zzz==2.9.0"]


def test_a_distribution_that_was_installed_from_a_folder_is_installed_from_there() -> None:
    installed = distribution("recipekit")
    origin = installed.read_text("direct_url.json")
    if origin is None:
        pytest.skip("recipekit was installed from an index")
    [here] = requirements(lock_with(recipekit=installed.version))
    assert here == f"recipekit @ {json.loads(origin)['url']}"
    assert requirements(lock_with(recipekit="0.0.1")) == ["recipekit==0.0.1"]


@pytest.mark.slow
def test_a_version_that_no_index_has_is_named(index: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"cannot be made: No matching .* for numpy==0\.0\.1"):
        make_environment(tmp_path / "new", lock_with(numpy="0.0.1"), print)


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_nothing_is_installed_from_a_lock_that_was_changed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def install(*_: object) -> Path:
        raise AssertionError("installed")

    monkeypatch.setattr(fresh_environment, "make_environment", install)
    assert invoke(["share", "small", "out"]) == 0
    with open("out/recipe.lock", "a") as lock:
        lock.write("# changed\n")
    assert invoke(["reproduce", "out", "--cpu", "--fresh-environment"]) == 1
    printed = capfd.readouterr().err
    assert "recipe.lock: was changed after it was written" in printed
    assert "installed" not in printed


@pytest.mark.slow
def test_a_baseline_runs_in_a_fresh_environment_with_the_locked_versions(
    index: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The index has the locked versions; their code is that of this environment."""
    assert invoke(["share", "small", "out"]) == 0
    locked = read_lock(Path("out/recipe.lock"))
    code = [*_editable_code(), sysconfig.get_path("purelib")]
    for name, version in locked.versions.items():
        files = {"code.pth": "".join(f"import site; site.addsitedir({path!r})\n" for path in code)}
        wheel(index, name, version.partition("+")[0], files if name == "recipekit" else {})
    capfd.readouterr()
    status = invoke(["reproduce", "out", "--cpu", "--fresh-environment"])
    printed = capfd.readouterr()
    assert status == 0, printed.out + printed.err
    assert "1 of 1 figures are within tolerance" in printed.out
    assert "differs from the lock" not in printed.err
    environment = Path("reproduced-small/environment")
    assert f"numpy=={locked.versions['numpy']}" in (environment / "requirements.txt").read_text()
    made = environment.stat().st_mtime_ns
    make_environment(environment, locked, lambda line: pytest.fail(f"made again: {line}"))
    assert environment.stat().st_mtime_ns == made


def _editable_code() -> list[str]:
    import recipekit

    return [str(Path(recipekit.__file__).parents[1])]
