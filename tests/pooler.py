"""PgBouncer in front of a server of a test: what stands between a customer and hosted Supabase.

with run_pooler(server, {"postgres": "secret"}, pool_mode="transaction") as pooler:
    psycopg.connect(pooler.dsn("postgres", "quant", "secret"))
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from strongroom.postgres.embedded import EmbeddedPostgres, server_account

_SETTINGS = """\
[databases]
* = host=127.0.0.1 port={server_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users.txt
pool_mode = {pool_mode}
default_pool_size = {pool_size}
max_client_conn = 50
query_wait_timeout = 120
server_tls_sslmode = disable
ignore_startup_parameters = extra_float_digits
"""
_START_SECONDS = 20.0


class PoolerUnavailable(Exception):
    """This machine has no PgBouncer."""


@dataclass(frozen=True, slots=True)
class Pooler:
    """A running PgBouncer on the loopback address."""

    port: int
    folder: Path

    def conninfo(self, user: str, dbname: str, password: str) -> dict[str, str]:
        """Return what the engine connects with."""
        return {
            "host": "127.0.0.1",
            "port": str(self.port),
            "user": user,
            "dbname": dbname,
            "password": password,
        }

    def dsn(self, user: str, dbname: str, password: str) -> str:
        """Return the same as a connection string."""
        return " ".join(f"{name}={value}" for name, value in self.conninfo(user, dbname, password).items())


@contextmanager
def run_pooler(
    server: EmbeddedPostgres, passwords: Mapping[str, str], *, pool_mode: str, pool_size: int = 5
) -> Iterator[Pooler]:
    """Run a PgBouncer that logs in with SCRAM on both sides, as a user who is not root.

    Raises `PoolerUnavailable` where it is not installed.
    """
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        raise PoolerUnavailable("pgbouncer is not installed (Debian: apt-get install pgbouncer)")
    with tempfile.TemporaryDirectory(prefix="pooler-") as name:
        pooler = Pooler(_free_port(), Path(name))
        _configure(pooler, server, passwords, pool_mode, pool_size)
        account = server_account()
        if account is not None:
            for path in (pooler.folder, *pooler.folder.iterdir()):
                os.chown(path, account.pw_uid, account.pw_gid)
        with (pooler.folder / "log").open("w+") as log:
            process = subprocess.Popen(
                [program, pooler.folder / "pgbouncer.ini"],
                stdout=log,
                stderr=log,
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
            )
            try:
                _await_port(pooler, process)
                yield pooler
            finally:
                process.kill()
                process.wait(10)


def _configure(
    pooler: Pooler, server: EmbeddedPostgres, passwords: Mapping[str, str], pool_mode: str, pool_size: int
) -> None:
    users = "".join(f'"{user}" "{password}"\n' for user, password in passwords.items())
    (pooler.folder / "users.txt").write_text(users)
    (pooler.folder / "pgbouncer.ini").write_text(
        _SETTINGS.format(
            server_port=server.port,
            port=pooler.port,
            folder=pooler.folder,
            pool_mode=pool_mode,
            pool_size=pool_size,
        )
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_port(pooler: Pooler, process: subprocess.Popen[bytes]) -> None:
    limit = time.monotonic() + _START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", pooler.port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > limit:
                log = (pooler.folder / "log").read_text(errors="replace")
                raise AssertionError(f"pgbouncer did not start:\n{log}") from None
            time.sleep(0.02)
