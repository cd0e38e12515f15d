"""The TLS bridge in front of a real server that refuses everything but TLS."""

import hashlib
import socket
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest

from strongroom.deadline import Deadline
from strongroom.errors import (
    CertificateNotTrusted,
    ChannelBindingImpossible,
    ClientCertificateUnusable,
    DeadlineExceeded,
    HostNameMismatch,
    LoginRefused,
    SourceUnavailable,
    TlsNotOffered,
    TlsRefused,
)
from strongroom.postgres.client_programs import read_program, run_program
from strongroom.postgres.embedded import EmbeddedPostgres
from strongroom.postgres.programs import embedded_program
from strongroom.postgres.tls_bridge import TlsBridge
from tests.databases import Database, MakeDatabase
from tests.tls_server import TlsServer, issue

PG_DUMP = embedded_program("pg_dump", 18)
PG_RESTORE = embedded_program("pg_restore", 18)
PSQL = embedded_program("psql", 18)
ASK_IF_TLS = ["-XAtc", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"]


def limit() -> Deadline:
    """Return the time that any one program may take."""
    return Deadline.after(60, "test")


def connect(bridge: TlsBridge) -> psycopg.Connection[tuple[Any, ...]]:
    """Open a connection through the bridge."""
    return psycopg.connect("", autocommit=True, **bridge.conninfo)  # type: ignore[arg-type]


def ask(conninfo: dict[str, str]) -> str:
    """Let psql without TLS ask the server whether it speaks TLS with it."""
    return read_program(PSQL, ASK_IF_TLS, conninfo, deadline=limit()).decode().strip()


# ---------------------------------------------------------------- what passes


def test_dump_is_the_same_as_on_the_server(tls_postgres17: TlsServer, quantforge: MakeDatabase) -> None:
    """pg_dump without TLS dumps a fully verified TLS-only server, and its dump is that of a local run."""
    quant = quantforge(tls_postgres17.server)
    arguments = ["--schema-only", "--restrict-key=same", "--schema=public"]
    expected = read_program(PG_DUMP, arguments, quant.conninfo(), deadline=limit())
    actual = read_program(PG_DUMP, arguments, tls_postgres17.conninfo(quant.name), deadline=limit())
    assert b"CREATE TABLE public.trades" in expected
    assert actual == expected


def test_parallel_dump_and_restore(
    tls_postgres17: TlsServer, platform_database: MakeDatabase, tmp_path: Path
) -> None:
    """Several connections of one pg_dump -j2 and one pg_restore -j2 pass at once, and no row is lost."""
    source, destination = platform_database(tls_postgres17.server), platform_database(tls_postgres17.server)
    with psycopg.connect(source.dsn()) as connection:
        for name in ("one", "two"):
            connection.execute(
                f"CREATE TABLE {name} AS SELECT n, repeat(md5(n::text), 8) AS t"
                " FROM generate_series(1, 30000) AS n"
            )
    archive = str(tmp_path / "archive")
    dump = ["-Fd", "-j2", "-f", archive, "-t", "one", "-t", "two"]
    run_program(PG_DUMP, dump, tls_postgres17.conninfo(source.name), deadline=limit())
    target = tls_postgres17.conninfo(destination.name)
    run_program(PG_RESTORE, ["-Fd", "-j2", "-d", destination.name, archive], target, deadline=limit())
    digests = [_digests(database) for database in (source, destination)]
    assert digests[0] == digests[1]


def _digests(database: Database) -> list[tuple[Any, ...]]:
    with psycopg.connect(database.dsn()) as connection:
        return [
            row
            for name in ("one", "two")
            for row in connection.execute(f"SELECT count(*), sum(hashtext(t)), sum(n) FROM {name}")
        ]


def test_large_streams_both_ways(tls_postgres17: TlsServer, platform_database: MakeDatabase) -> None:
    """Twenty megabytes in and out again arrive unchanged, whatever pieces they travel in."""
    database = platform_database(tls_postgres17.server)
    lines = b"".join(
        b"%08d %s\n" % (n, hashlib.sha256(b"%d" % n).hexdigest().encode()) for n in range(280_000)
    )
    with TlsBridge(tls_postgres17.conninfo(database.name)) as bridge, connect(bridge) as connection:
        connection.execute("CREATE TABLE lines (line text)")
        with connection.cursor().copy("COPY lines FROM STDIN") as copy:
            copy.write(lines)
        with connection.cursor().copy("COPY lines TO STDOUT") as copy:
            returned = b"".join(bytes(part) for part in copy)
    assert hashlib.sha256(returned).hexdigest() == hashlib.sha256(lines).hexdigest()


def test_far_side_speaks_tls(tls_postgres17: TlsServer, platform_database: MakeDatabase) -> None:
    """The server itself says that a connection through the bridge is TLS."""
    database = platform_database(tls_postgres17.server)
    assert ask(tls_postgres17.conninfo(database.name)) == "t"


def test_psycopg_needs_no_bridge(tls_postgres17: TlsServer, platform_database: MakeDatabase) -> None:
    """Psycopg has TLS of its own, and takes the same settings."""
    conninfo = tls_postgres17.conninfo(platform_database(tls_postgres17.server).name)
    with psycopg.connect("", **conninfo) as connection:  # type: ignore[arg-type]
        assert connection.pgconn.ssl_in_use


def test_prefer_uses_tls_where_there_is_tls(
    tls_postgres17: TlsServer, platform_database: MakeDatabase
) -> None:
    """Without a word on TLS the bridge takes it where the server has it, as libpq does."""
    conninfo = tls_postgres17.conninfo(platform_database(tls_postgres17.server).name)
    del conninfo["sslmode"], conninfo["sslrootcert"]
    assert ask(conninfo) == "t"


def test_prefer_goes_on_without_tls(postgres18: EmbeddedPostgres, platform_database: MakeDatabase) -> None:
    """Without a word on TLS the bridge goes on plainly where the server has none, as libpq does."""
    assert ask(_plain_conninfo(postgres18, platform_database().name)) == "f"


def _plain_conninfo(server: EmbeddedPostgres, database: str) -> dict[str, str]:
    return {
        "host": "127.0.0.1",
        "port": str(server.port),
        "user": "postgres",
        "password": "postgres",
        "dbname": database,
    }


def test_client_certificate(
    tls_postgres17: TlsServer, platform_database: MakeDatabase, tmp_path: Path
) -> None:
    """A role that logs in by certificate gets in with sslcert and sslkey, and not without them."""
    database = platform_database(tls_postgres17.server)
    with psycopg.connect(database.dsn("supabase_admin"), autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS certified")
        connection.execute("CREATE ROLE certified LOGIN")
    certificate, key = issue(tls_postgres17.authority, ["certified"], tmp_path, "certified")
    files = {"sslcert": str(certificate), "sslkey": str(key)}
    assert ask(tls_postgres17.conninfo(database.name, user="certified", **files)) == "t"
    with pytest.raises(TlsRefused) as refused:
        ask(tls_postgres17.conninfo(database.name, user="certified"))
    assert "requires a valid client certificate" in refused.value.render()


def test_cancel_passes(tls_postgres17: TlsServer, platform_database: MakeDatabase) -> None:
    """A request to cancel reaches the server through the bridge."""
    database = platform_database(tls_postgres17.server)
    with TlsBridge(tls_postgres17.conninfo(database.name)) as bridge, connect(bridge) as connection:
        running = threading.Event()

        def cancel() -> None:
            running.wait()
            connection.cancel_safe()

        thread = threading.Thread(target=cancel)
        thread.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            # The notice tells that the statement is under way, so that the cancel hits it.
            connection.add_notice_handler(lambda _: running.set())
            connection.execute("DO $$ BEGIN RAISE WARNING 'under way'; PERFORM pg_sleep(60); END $$")
        thread.join()


def test_deadline_ends_program_and_query(tls_postgres17: TlsServer, platform_database: MakeDatabase) -> None:
    """At the deadline the program is ended, and its statement on the server with it."""
    database = platform_database(tls_postgres17.server)
    conninfo = tls_postgres17.conninfo(database.name)
    arguments = ["-Xc", "SELECT pg_sleep(120)"]
    with pytest.raises(DeadlineExceeded):
        run_program(PSQL, arguments, conninfo, deadline=Deadline.after(1, "backup.max_backup_duration"))
    with psycopg.connect(database.dsn("supabase_admin"), autocommit=True) as connection:
        remaining = connection.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE 'SELECT pg_sleep%%'"
        ).fetchone()
    assert remaining == (0,)


# ---------------------------------------------------------------- what is refused


def test_stranger_is_not_trusted(tls_postgres17: TlsServer) -> None:
    """A certificate that our authority did not sign is refused, and the hint names sslrootcert."""
    conninfo = tls_postgres17.conninfo("postgres", sslrootcert=str(tls_postgres17.stranger))
    for mode in ("require", "verify-ca", "verify-full"):
        with pytest.raises(CertificateNotTrusted) as refused:
            ask(conninfo | {"sslmode": mode})
        assert "sslrootcert" in refused.value.advice()


def test_missing_authority(tls_postgres17: TlsServer, tmp_path: Path) -> None:
    """Verification without the file of authorities is refused before anything is sent."""
    missing = str(tmp_path / "missing.crt")
    with pytest.raises(CertificateNotTrusted) as refused:
        ask(tls_postgres17.conninfo("postgres", sslrootcert=missing))
    assert missing in refused.value.render()


def test_unreadable_authority(tls_postgres17: TlsServer, tmp_path: Path) -> None:
    """A file of authorities that holds no certificate is named."""
    (tmp_path / "nonsense.crt").write_text("nonsense")
    with pytest.raises(ClientCertificateUnusable):
        ask(tls_postgres17.conninfo("postgres", sslrootcert=str(tmp_path / "nonsense.crt")))


def test_other_host_name(tls_postgres17: TlsServer, platform_database: MakeDatabase) -> None:
    """The right certificate under another name is refused by verify-full, and taken by verify-ca."""
    conninfo = tls_postgres17.conninfo(platform_database(tls_postgres17.server).name, host="127.0.0.1")
    with pytest.raises(HostNameMismatch):
        ask(conninfo)
    assert ask(conninfo | {"sslmode": "verify-ca"}) == "t"


def test_server_without_tls(postgres18: EmbeddedPostgres, platform_database: MakeDatabase) -> None:
    """A server without TLS is refused when sslmode asks for TLS."""
    conninfo = _plain_conninfo(postgres18, platform_database().name) | {"sslmode": "require"}
    with pytest.raises(TlsNotOffered):
        ask(conninfo)


def test_wrong_password(tls_postgres17: TlsServer) -> None:
    """A wrong password is named as such, and stands in no message."""
    conninfo = tls_postgres17.conninfo("postgres", password="guessed-in-vain")
    with pytest.raises(LoginRefused) as refused:
        ask(conninfo)
    assert "guessed-in-vain" not in str(refused.value.document())


def test_channel_binding_is_not_faked(tls_postgres17: TlsServer) -> None:
    """channel_binding=require is refused, because the bridge cannot keep it."""
    with pytest.raises(ChannelBindingImpossible):
        TlsBridge(tls_postgres17.conninfo("postgres", channel_binding="require"))


def test_nobody_there() -> None:
    """A port where nobody listens is a coded, transient error."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = str(closed.getsockname()[1])
        with pytest.raises(SourceUnavailable):
            ask({"host": "127.0.0.1", "port": port, "user": "postgres", "dbname": "x", "sslmode": "require"})


def test_nothing_remains(tls_postgres17: TlsServer, platform_database: MakeDatabase) -> None:
    """Leaving the bridge cuts its connections, ends its threads and removes its socket."""
    database = platform_database(tls_postgres17.server)
    with TlsBridge(tls_postgres17.conninfo(database.name)) as bridge:
        connection = connect(bridge)
        folder = Path(bridge.conninfo["host"])
        assert folder.stat().st_mode & 0o777 == 0o700
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    connection.close()
    assert not folder.exists()
    assert [thread.name for thread in threading.enumerate() if thread.name == "tls-bridge"] == []
