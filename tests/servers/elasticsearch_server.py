"""A real Elasticsearch for the tests: fetched once by Maven, and started on a free loopback port.

The server's minimal distribution is a Maven artifact. It refuses to run as root, so root runs it as
another user.
"""

import base64
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from servers.watchdog import unwatch, watch

__all__ = ["PASSWORD", "USER", "ElasticsearchServer", "ServerUnavailable", "home"]

VERSION = "8.19.3"
ARTIFACT = f"org.elasticsearch.distribution.integ-test-zip:elasticsearch:{VERSION}:zip"
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
PLUGIN = Path(__file__).parent / "elasticsearch_plugin" / "TestAnalysisPlugin.java"
DESCRIPTOR = f"""\
description=Analysis for the tests of recipekit
version=1
name=recipekit-test-analysis
classname=recipekit.tests.TestAnalysisPlugin
java.version=17
elasticsearch.version={VERSION}
"""
SETTINGS = {
    "cluster.name": "recipekit-tests",
    "discovery.type": "single-node",
    "network.host": "127.0.0.1",
    "cluster.routing.allocation.disk.threshold_enabled": "false",
    "action.destructive_requires_name": "false",
}
NOBODY = 65534
USER, PASSWORD = "reader", "the long password"


class ServerUnavailable(Exception):
    """The server cannot run on this machine; the message gives the reason."""


def cache() -> Path:
    """A folder outside the repository that every user can read."""
    given = os.environ.get("RECIPEKIT_TEST_CACHE")
    return (
        Path(given)
        if given
        else Path("/var/cache" if os.getuid() == 0 else Path.home() / ".cache") / "recipekit-tests"
    )


def home() -> Path:
    """The path of the distribution with the test plugin, unpacked at the first call.

    Raises:
        ServerUnavailable: A program is missing, or Maven cannot fetch the distribution.
    """
    source = hashlib.sha256(PLUGIN.read_bytes() + DESCRIPTOR.encode()).hexdigest()[:8]
    final = cache() / f"elasticsearch-{VERSION}-{source}"
    if final.is_dir():
        return final
    for program in ("java", "javac", "mvn", *(["setpriv"] if os.getuid() == 0 else [])):
        if shutil.which(program) is None:
            raise ServerUnavailable(f"there is no {program} on this machine")
    cache().mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=cache(), prefix="unpacking-"))
    try:
        with zipfile.ZipFile(_downloaded()) as archive:
            archive.extractall(partial)
        unpacked = partial / f"elasticsearch-{VERSION}"
        for script in (unpacked / "bin").iterdir():
            script.chmod(0o755)
        _install_plugin(unpacked)
        if not final.is_dir():
            unpacked.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return final


def _downloaded() -> Path:
    archive = cache() / f"elasticsearch-{VERSION}.zip"
    if not archive.is_file():
        with tempfile.TemporaryDirectory(dir=cache()) as folder:
            command = [
                "mvn",
                "-q",
                "-B",
                COPY,
                f"-Dartifact={ARTIFACT}",
                f"-DoutputDirectory={folder}",
            ]
            done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
            if done.returncode:
                lines = [line for line in done.stdout.splitlines() if "ERROR" in line]
                raise ServerUnavailable(
                    f"Maven could not fetch {ARTIFACT}: {(lines or ['no reason given'])[0]}"
                )
            (Path(folder) / archive.name).rename(archive)
    return archive


def _install_plugin(unpacked: Path) -> None:
    folder = unpacked / "plugins" / "recipekit-test-analysis"
    classes = folder / "classes"
    classes.mkdir(parents=True)
    command = ["javac", "-cp", f"{unpacked}/lib/*", "-d", str(classes), str(PLUGIN)]
    subprocess.run(command, check=True, capture_output=True)
    with zipfile.ZipFile(folder / "plugin.jar", "w") as jar:
        for compiled in classes.rglob("*.class"):
            jar.write(compiled, compiled.relative_to(classes).as_posix())
    shutil.rmtree(classes)
    (folder / "plugin-descriptor.properties").write_text(DESCRIPTOR)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ElasticsearchServer:
    """A node with its own data folder and port, which survive `kill` and `start`.

    A context manager.

    Args:
        secured: Use TLS with a self-signed certificate (`ca_file`), and one superuser, `USER`
            with `PASSWORD`.
        quick: Start in half the time, but run slower later, because Java optimizes less.
        settings: Further settings.
    """

    def __init__(
        self,
        *,
        secured: bool = False,
        quick: bool = True,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.home = home()
        self.folder = Path(tempfile.mkdtemp(prefix="recipekit-elasticsearch-"))
        self.port = free_port()
        self.secured = secured
        self._java = "-Xms512m -Xmx512m" + (" -XX:TieredStopAtLevel=1" if quick else "")
        self.ca_file = self.folder / "config" / "ca.pem"
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._configure(settings or {})

    @property
    def url(self) -> str:
        return f"{'https' if self.secured else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> "ElasticsearchServer":
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
        user = (
            ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            if os.getuid() == 0
            else []
        )
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ES_")},
            "ES_JAVA_HOME": os.environ.get("ES_JAVA_HOME")
            or str(Path(shutil.which("java") or "java").resolve().parents[1]),
            "ES_PATH_CONF": str(self.folder / "config"),
            "ES_JAVA_OPTS": self._java,
            "CLI_JAVA_OPTS": "-XX:TieredStopAtLevel=1",  # for the launcher
            "ES_TMPDIR": str(self.folder / "tmp"),
            "HOME": str(self.folder),
        }
        with (self.folder / "output.txt").open("ab") as output:
            self._process = subprocess.Popen(
                [*user, str(self.home / "bin" / "elasticsearch")],
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._watchdog = watch(self._process, self.folder)
        self._wait()

    def kill(self) -> None:
        """Kill the server, as a power cut would: nothing is flushed."""
        if self._watchdog is not None:
            unwatch(self._watchdog)
            self._watchdog = None
        if self._process is not None:
            with suppress(ProcessLookupError):  # it has already exited
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + 120
        while self._process.poll() is None and time.monotonic() < deadline:
            if self._answers():
                return
            time.sleep(0.1)
        output = (self.folder / "output.txt").read_text(errors="replace")[-2000:]
        self.kill()
        raise RuntimeError(f"Elasticsearch did not start:\n{output}")

    def _answers(self) -> bool:
        import ssl

        checked = ssl.create_default_context(cafile=self.ca_file) if self.secured else None
        try:
            health = f"{self.url}/_cluster/health?wait_for_status=yellow"
            with urllib.request.urlopen(health, timeout=5, context=checked) as reply:
                return bool(reply.status == 200)
        except urllib.error.HTTPError as error:
            with error:
                return error.code == 401
        except OSError:
            return False

    def _configure(self, more: Mapping[str, str]) -> None:
        config = self.folder / "config"
        shutil.copytree(self.home / "config", config)
        settings = {
            **SETTINGS,
            "http.port": str(self.port),
            "transport.port": str(free_port()),
            "path.data": str(self.folder / "data"),
            "path.logs": str(self.folder / "logs"),
            "xpack.security.enabled": str(self.secured).lower(),
            "xpack.security.enrollment.enabled": "false",
            **(self._secure(config) if self.secured else {}),
            **more,
        }
        (config / "elasticsearch.yml").write_text(
            "".join(f"{name}: {value}\n" for name, value in settings.items())
        )
        for name in ("data", "logs", "tmp"):
            (self.folder / name).mkdir()
        if os.getuid() == 0:
            subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(self.folder)], check=True)

    def _secure(self, config: Path) -> dict[str, str]:
        if shutil.which("openssl") is None:
            raise ServerUnavailable("there is no openssl on this machine")
        command = (
            "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=recipekit-tests "
            "-addext subjectAltName=IP:127.0.0.1"
        )
        subprocess.run(
            [*command.split(), "-keyout", str(config / "key.pem"), "-out", str(self.ca_file)],
            check=True,
            capture_output=True,
        )
        salt = os.urandom(32)
        hashed = hashlib.pbkdf2_hmac("sha512", PASSWORD.encode(), salt, 10000, 32)
        encoded = "$".join(
            ["{PBKDF2}10000", base64.b64encode(salt).decode(), base64.b64encode(hashed).decode()]
        )
        (config / "users").write_text(f"{USER}:{encoded}\n")
        (config / "users_roles").write_text(f"superuser:{USER}\n")
        return {
            "xpack.security.http.ssl.enabled": "true",
            "xpack.security.http.ssl.key": "key.pem",
            "xpack.security.http.ssl.certificate": "ca.pem",
            "xpack.security.authc.api_key.enabled": "true",
        }
