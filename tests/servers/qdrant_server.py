"""A real Qdrant for the tests: unpacked once, started on free loopback ports, killed and started
again as a test wants.
"""

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

from servers.elasticsearch_server import NotToBeHad, cache, free_port
from servers.watchdog import let_go, watch

__all__ = ["QdrantProcess", "binary"]

SHARED = Path(__file__).resolve().parents[3] / "shared" / "servers"
"""Where a server lies packed, with a README.md that tells its sha256."""


def binary() -> Path:
    """The server's program, unpacked where it is not there yet.

    Raises:
        NotToBeHad: There is no packed server here, or not the one that its README.md tells of.
    """
    packed = sorted(SHARED.glob("qdrant-*.xz"))
    if not packed:
        raise NotToBeHad("there is no ../shared/servers/qdrant-*.xz beside the repository")
    told = re.search(r"\b[0-9a-f]{64}\b", (SHARED / "README.md").read_text())
    if told is None:
        raise NotToBeHad("../shared/servers/README.md tells no sha256")
    final = cache() / f"{packed[-1].stem}-{told[0][:8]}"
    if not final.is_file():
        cache().mkdir(parents=True, exist_ok=True)
        with (
            tempfile.NamedTemporaryFile(dir=cache(), delete=False) as unpacked,
            lzma.open(packed[-1]) as source,
        ):
            shutil.copyfileobj(source, unpacked)
        found = hashlib.sha256(Path(unpacked.name).read_bytes()).hexdigest()
        if found != told[0]:
            Path(unpacked.name).unlink()
            raise NotToBeHad(
                f"{packed[-1].name} has sha256 {found}, not {told[0]} as its README.md tells"
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
    """One server with a data folder and ports of its own, all kept over `kill` and `start`; a
    context manager.

    Args:
        api_key: What it wants to be shown; None lets everybody in.
        read_only_key: A second key, with which nothing can be written.
        disk: Give it a disk of its own of this size ("24m"), which is gone with the process.
        settings: More of its configuration, by section.
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
            raise NotToBeHad("this system gives no mount namespaces")
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
        """Start it, and return when it answers."""
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
        """End it as a power cut would: nothing is flushed, nothing said."""
        if self._watchdog is not None:
            let_go(self._watchdog)
            self._watchdog = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
