"""A real Qdrant for the tests: unpacked once, and started on free loopback ports."""

import hashlib
import json
import lzma
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from servers.elasticsearch_server import ServerUnavailable, cache, free_port
from servers.watchdog import unwatch, watch

__all__ = ["QdrantProcess", "binary"]

SHARED = Path(__file__).resolve().parents[3] / "shared" / "servers"
"""The folder of the packed server, and of a README.md with its sha256."""


def binary() -> Path:
    """The path of the server's binary, unpacked at the first call.

    Raises:
        ServerUnavailable: There is no packed server, or it has another sha256.
    """
    packed = sorted(SHARED.glob("qdrant-*.xz"))
    if not packed:
        raise ServerUnavailable("there is no ../shared/servers/qdrant-*.xz next to the repository")
    expected = re.search(r"\b[0-9a-f]{64}\b", (SHARED / "README.md").read_text())
    if expected is None:
        raise ServerUnavailable("../shared/servers/README.md has no sha256")
    final = cache() / f"{packed[-1].stem}-{expected[0][:8]}"
    if not final.is_file():
        cache().mkdir(parents=True, exist_ok=True)
        with (
            tempfile.NamedTemporaryFile(dir=cache(), delete=False) as unpacked,
            lzma.open(packed[-1]) as source,
        ):
            shutil.copyfileobj(source, unpacked)
        found = hashlib.sha256(Path(unpacked.name).read_bytes()).hexdigest()
        if found != expected[0]:
            Path(unpacked.name).unlink()
            raise ServerUnavailable(
                f"{packed[-1].name} has sha256 {found}, not {expected[0]} as in its README.md"
            )
        os.chmod(unpacked.name, 0o755)
        os.replace(unpacked.name, final)
    return final


def _mounts() -> bool:
    command = [
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        "mount -t tmpfs none /mnt",
    ]
    return (
        shutil.which("unshare") is not None
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


class QdrantProcess:
    """A server with its own data folder and ports, which survive `kill` and `start`.

    A context manager.

    Args:
        api_key: The required API key; None requires none.
        read_only_key: A second key that cannot write.
        disk: The size of a separate disk ("24m"), which is lost with the process.
        settings: Further configuration by section.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        read_only_key: str | None = None,
        disk: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self._program, self._disk = binary(), disk
        if disk and not _mounts():
            raise ServerUnavailable("this system has no mount namespaces")
        self.folder = Path(tempfile.mkdtemp(prefix="recipekit-qdrant-"))
        self.port, self.grpc_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        service = {
            "host": "127.0.0.1",
            "http_port": self.port,
            "grpc_port": self.grpc_port,
            "enable_static_content": False,
        }
        keys = {"api_key": api_key, "read_only_api_key": read_only_key}
        data = self.folder / "data"
        data.mkdir()
        storage_paths = {
            "storage_path": str(data / "storage"),
            "snapshots_path": str(data / "snapshots"),
            "wal": {"wal_capacity_mb": 1},
        }
        config = {
            "log_level": "WARN", "telemetry_disabled": True, "storage": storage_paths,
            "service": {**service, **{name: key for name, key in keys.items() if key}},
        }  # fmt: skip
        for section, values in (settings or {}).items():
            config[section] = {**config.get(section, {}), **values}
        (self.folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML

    def __enter__(self) -> "QdrantProcess":
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start the server and return when it answers."""
        with (self.folder / "output.txt").open("ab") as output:
            command = [str(self._program), "--config-path", str(self.folder / "config.yaml")]
            if self._disk:
                script = (
                    f"mount -t tmpfs -o size={self._disk} none data && exec {shlex.join(command)}"
                )
                command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._watchdog = watch(self._process, self.folder)
        deadline = time.monotonic() + 60
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=5):
                    return
            except OSError:
                time.sleep(0.05)
        output_text = (self.folder / "output.txt").read_text(errors="replace")[-2000:]
        self.kill()
        raise RuntimeError(f"Qdrant did not start:\n{output_text}")

    def kill(self) -> None:
        """Kill the server, as a power cut would: nothing is flushed."""
        if self._watchdog is not None:
            unwatch(self._watchdog)
            self._watchdog = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
