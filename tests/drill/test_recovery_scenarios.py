"""The three scenarios, end to end, on the Supabase shape as role `postgres`, with an application that goes on writing.

Everything is the true engine in real child processes under the true flow. What must come back, and what must stay, is
read by plain COPY before and after.
"""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg
import pytest

from flows.backup import back_up
from flows.recovery import recover, roll_back
from strongroom.config import Settings, load_settings
from strongroom.deadline import Deadline
from strongroom.errors import (
    BackupTooLarge,
    RecoveryRolledBack,
    StagedRowsUnfit,
    SystemValidationFailed,
    VerificationFailed,
)
from strongroom.operations.context import Context
from strongroom.operations.init_repository import init_repository
from strongroom.operations.messages import InitRepository, RecoveryReport
from strongroom.operations.read_recoveries import read_recoveries
from strongroom.operations.recovery_messages import InPlaceReport, ReadRecoveries, RecoveriesReport
from strongroom.postgres.embedded import EmbeddedPostgres
from tests.application import WritingApplication
from tests.databases import Database, MakeDatabase
from tests.flows.conftest import write_configuration

PASSPHRASE = "open sesame"
MARK = "written by the application"
CUSTOMER = "md5('user12')::uuid"


def prepare(
    folder: Path, source: Database, monkeypatch: pytest.MonkeyPatch, **limits: str
) -> tuple[str, Settings]:
    """Write a configuration with a repository in a folder; return its path, and what it says."""
    monkeypatch.setenv("STRONGROOM_KEYS_PASSPHRASE", PASSPHRASE)
    path = write_configuration(folder, folder / "repository", source.dsn(), {}, **limits)
    settings = load_settings(path, {"STRONGROOM_KEYS_PASSPHRASE": PASSPHRASE})
    init_repository(settings, InitRepository(), Context(deadline=Deadline.after(60, "test")))
    return str(path), settings


def execute(source: Database, *statements: str) -> None:
    """Run statements as the user, in one transaction."""
    with psycopg.connect(source.dsn()) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def rows(source: Database, query: str) -> Counter[bytes]:
    """Return the rows of a table or query as COPY text."""
    with psycopg.connect(source.dsn(), autocommit=True) as connection, connection.cursor() as cursor:
        copying = query if query.startswith("SELECT") else f"SELECT * FROM ONLY {query}"
        with cursor.copy(f"COPY ({copying}) TO STDOUT".encode()) as copy:
            return Counter(bytes(row) for row in copy)


def status(settings: Settings) -> RecoveriesReport:
    """Read what `strongroom recover status` shows."""
    return read_recoveries(settings, ReadRecoveries(), Context(deadline=Deadline.after(60, "test")))


def write_trade(connection: "psycopg.Connection[Any]", number: int) -> None:
    """Do what the application does all day: open a trade."""
    connection.execute(
        "INSERT INTO public.trades (symbol, side, volume, open_price, opened_at, closed_at, magic, comment)"
        " VALUES ('XAUUSD', 'buy', 0.1, 2000, now(), now(), %s, %s)",
        [100_000 + number, MARK],
    )


PRICES = (
    "SELECT sum(open_price) FROM public.trades WHERE comment IS DISTINCT FROM 'written by the application'"
)

CORRUPTION = (
    # Postgres 18 lets nobody change a published table with a full identity and a generated column.
    "ALTER TABLE public.trades REPLICA IDENTITY DEFAULT",
    "UPDATE public.trades SET open_price = open_price * 100 WHERE id % 3 = 0",
    "DELETE FROM public.trades WHERE id % 11 = 0",
    "ALTER TABLE public.trades REPLICA IDENTITY FULL",
)


@pytest.mark.timeout(400)
def test_corrupted_rows_are_given_back_under_a_writing_application_and_taken_back_again(
    tmp_path: Path, quantforge: MakeDatabase, prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers see the damaged or the recovered prices and nothing between; what was written since survives a merge.

    Then the run is rolled back by its id, and the corruption is back, row for row: what a person who chose the wrong
    recovery point needs.
    """
    source = quantforge()
    configuration, settings = prepare(tmp_path, source, monkeypatch)
    asyncio.run(back_up(configuration, kind="full"))
    wanted = rows(source, "public.trades")
    (sound,) = rows(source, PRICES)
    bystanders = rows(source, "public.robots")
    execute(source, *CORRUPTION)
    damaged = rows(source, "public.trades")
    (wrong,) = rows(source, PRICES)

    with WritingApplication(source.dsn(), write_trade, {"prices": PRICES}) as application:
        report = asyncio.run(
            recover(
                configuration,
                "",
                scenario="data_corruption",
                tables=("public.trades",),
                strategy="merge_overwrite",
                data_docs=str(tmp_path / "docs"),
            )
        )
    assert isinstance(report, InPlaceReport)
    assert ("recovered", []) == (report.outcome, application.errors)
    assert application.written > 20
    seen = [str(answer[0]) for answer in application.answers["prices"]]
    assert [wrong.decode().strip(), sound.decode().strip()] == seen
    after = rows(source, "public.trades")
    assert Counter() == wanted - after
    assert all(MARK.encode() in row for row in after - wanted)
    assert bystanders == rows(source, "public.robots")
    assert report.applied is not None
    assert 0 < report.applied.lock_seconds < 5
    assert [(report.run, "recovered")] == [(one.run, one.outcome) for one in status(settings).earlier]

    undone = asyncio.run(roll_back(configuration, report.run))
    assert "rolled-back" == undone.outcome
    now = rows(source, "public.trades")
    assert Counter() == damaged - now
    assert all(MARK.encode() in row for row in now - damaged)


@pytest.mark.timeout(400)
def test_a_recovery_whose_validation_fails_is_rolled_back(
    tmp_path: Path, quantforge: MakeDatabase, prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A smoke check that the recovered rows do not meet: live is what it was, compared row by row."""
    source = quantforge()
    configuration, settings = prepare(tmp_path, source, monkeypatch)
    asyncio.run(back_up(configuration, kind="full"))
    execute(source, *CORRUPTION)
    damaged = rows(source, "public.trades")
    check = (
        '[{ name = "prices are as high as they should be", '
        'sql = "SELECT max(open_price) > 100 FROM public.trades WHERE robot_id IS NULL" }]'
    )
    text = Path(configuration).read_text(encoding="utf-8")
    assert "[recovery]" in text
    Path(configuration).write_text(
        text.replace("[recovery]", f"[recovery]\nsmoke_checks = {check}"), encoding="utf-8"
    )
    with pytest.raises(RecoveryRolledBack) as raised:
        asyncio.run(
            recover(configuration, "", scenario="data_corruption", tables=("public.trades",), data_docs="")
        )
    assert isinstance(raised.value.__cause__, SystemValidationFailed)
    assert damaged == rows(source, "public.trades")
    found = status(settings)
    assert (None, ["rolled-back"]) == (found.under_way, [one.outcome for one in found.earlier])


def refusing_suite(folder: Path, **more: object) -> Path:
    """Write a suite of the user's own that the recovered trades do not meet; return its folder."""
    kwargs = {"sql": "SELECT count(*) FROM {table} AS t WHERE t.id > 0", **more}
    expectation = {"type": "strongroom_rows_hold", "kwargs": kwargs, "severity": "critical"}
    folder.mkdir()
    suite = {"name": "trades", "expectations": [expectation]}
    (folder / "public.trades.json").write_text(json.dumps(suite), encoding="utf-8")
    return folder


@pytest.mark.timeout(400)
def test_whichever_gate_refuses_live_is_what_it_was(
    tmp_path: Path, quantforge: MakeDatabase, prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged backup, no room for a way back, staged rows that fail: nothing happens. Live ones: rolled back."""
    source = quantforge()
    configuration, settings = prepare(tmp_path, source, monkeypatch)
    asyncio.run(back_up(configuration, kind="full"))
    execute(source, *CORRUPTION)
    damaged = rows(source, "public.trades")
    gates: dict[str, tuple[dict[str, str], type[Exception]]] = {
        "emergency backup": ({"STRONGROOM_BACKUP_MAX_BACKUP_SIZE": "1 KiB"}, BackupTooLarge),
        "staged rows": (
            {"STRONGROOM_RECOVERY_EXPECTATIONS": str(refusing_suite(tmp_path / "before"))},
            StagedRowsUnfit,
        ),
        "live rows": (
            {"STRONGROOM_RECOVERY_EXPECTATIONS": str(refusing_suite(tmp_path / "after", after_commit=True))},
            RecoveryRolledBack,
        ),
        "verification": ({}, VerificationFailed),
    }
    for gate, (variables, error) in gates.items():
        if gate == "verification":
            pack = max((tmp_path / "repository/packs").glob("*/*"), key=lambda path: path.stat().st_size)
            pack.write_bytes(pack.read_bytes()[:-1])
        with monkeypatch.context() as patch, pytest.raises(error):
            for name, value in variables.items():
                patch.setenv(name, value)
            asyncio.run(
                recover(
                    configuration, "", scenario="data_corruption", tables=("public.trades",), data_docs=""
                )
            )
        assert damaged == rows(source, "public.trades"), gate
        assert status(settings).under_way is None, gate


@pytest.mark.timeout(400)
def test_a_deleted_customer_comes_back(
    tmp_path: Path,
    quantforge: MakeDatabase,
    postgres16: EmbeddedPostgres,
    prefect_server: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rows that a deletion took along in eight tables, auth.users among them, are there again; nothing else changed."""
    source = quantforge(postgres16)
    configuration, _ = prepare(tmp_path, source, monkeypatch)
    asyncio.run(back_up(configuration, kind="full"))
    tables = (
        "auth.users",
        "auth.identities",
        "public.profiles",
        "public.robots",
        "public.robot_versions",
        "public.backtests",
        "public.trades",
        "public.signals",
        "private.api_keys",
        "public.robot_embeddings",
    )
    before = {table: rows(source, table) for table in tables}
    execute(
        source,
        "DELETE FROM public.backtests WHERE robot_version_id IN (SELECT v.id FROM public.robot_versions v"
        f" JOIN public.robots r ON r.id = v.robot_id WHERE r.owner_id = {CUSTOMER})",
        f"DELETE FROM auth.users WHERE id = {CUSTOMER}",
    )
    lost = {table: before[table] - rows(source, table) for table in tables}
    assert sum(lost["auth.users"].values()) == 1
    assert sum(1 for table in tables if lost[table]) >= 6

    with WritingApplication(source.dsn(), write_trade) as application:
        report = asyncio.run(
            recover(
                configuration, "", scenario="partial_loss", tables=tables, data_docs=str(tmp_path / "docs")
            )
        )
    assert isinstance(report, InPlaceReport)
    assert ("recovered", []) == (report.outcome, application.errors)
    for table in tables:
        after = rows(source, table)
        missing = before[table] - after
        if table in {"public.trades", "public.robots"}:
            # Deleting the customer set the robot of open trades, and the parent of forks, to null: those rows exist,
            # and merge_missing touches no row that exists.
            assert sum(missing.values()) < sum(lost[table].values())
        else:
            assert Counter() == missing, table


@pytest.mark.timeout(400)
def test_a_dead_project_is_recovered_into_an_empty_one(
    tmp_path: Path,
    quantforge: MakeDatabase,
    platform_database: MakeDatabase,
    prefect_server: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While an application writes it is backed up; then it cannot be reached any more, and a plan brings it back."""
    source, destination = quantforge(), platform_database()
    configuration, _ = prepare(tmp_path, source, monkeypatch)
    with WritingApplication(source.dsn(), write_trade) as application:
        asyncio.run(back_up(configuration, kind="full"))
        taken = asyncio.run(back_up(configuration, kind="incremental"))
    assert [] == application.errors
    later = rows(source, "public.trades")
    text = Path(configuration).read_text(encoding="utf-8")
    Path(configuration).write_text(text.replace(source.name, "gone_for_good"), encoding="utf-8")
    monkeypatch.setenv("STRONGROOM_DESTINATION_URL", destination.dsn())

    report = asyncio.run(
        recover(configuration, "", scenario="complete_failure", data_docs=str(tmp_path / "docs"))
    )
    assert isinstance(report, RecoveryReport)
    assert (True, taken.backup) == (report.passed, report.backup)
    recovered = rows(destination, "public.trades")
    assert Counter() == recovered - later
    assert all(MARK.encode() in row for row in later - recovered)
    assert rows(source, "public.robots") == rows(destination, "public.robots")
    assert rows(source, "auth.users") == rows(destination, "auth.users")
