"""The flows with the true engine, on a database in the Supabase shape: backed up, changed, recovered."""

import asyncio
from pathlib import Path

import psycopg
import pytest

from flows.backup import back_up
from flows.recovery import recover, restored
from flows.verify import verify
from strongroom.config import load_settings
from strongroom.deadline import Deadline
from strongroom.operations.context import Context
from strongroom.operations.init_repository import init_repository
from strongroom.operations.messages import InitRepository
from tests.conftest import MakeDatabase
from tests.flows.conftest import write_configuration


def count_rows(dsn: str) -> dict[str, int]:
    """Count the rows of every table of the application and of the managed schemas."""
    with psycopg.connect(dsn) as connection:
        names = connection.execute(
            "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind = 'r' AND n.nspname IN ('public', 'auth', 'storage')"
        ).fetchall()
        counts = {}
        for (name,) in names:
            row = connection.execute(f"SELECT count(*) FROM {name}").fetchone()
            counts[name] = row[0] if row else -1
    return counts


def test_back_up_change_and_recover(
    tmp_path: Path,
    quantforge: MakeDatabase,
    platform_database: MakeDatabase,
    prefect_server: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A full and an incremental backup verify, and recovering gives the rows of the second one back."""
    source = quantforge()
    destination = platform_database()
    monkeypatch.setenv("STRONGROOM_KEYS_PASSPHRASE", "open sesame")
    monkeypatch.setenv("STRONGROOM_DESTINATION_URL", destination.dsn())
    configuration = write_configuration(tmp_path, tmp_path / "repository", source.dsn())
    context = Context(deadline=Deadline.after(60, "test"))
    init_repository(
        load_settings(configuration, {"STRONGROOM_KEYS_PASSPHRASE": "open sesame"}), InitRepository(), context
    )

    full = asyncio.run(back_up(str(configuration), kind="full"))
    with psycopg.connect(source.dsn()) as connection:
        connection.execute("CREATE TABLE public.later AS SELECT n FROM generate_series(1, 100) AS n")
    second = asyncio.run(back_up(str(configuration), kind="incremental"))
    expected = count_rows(source.dsn())

    assert (full.kind, second.kind, second.parent) == ("full", "incremental", full.backup)
    assert second.totals.bytes_stored < full.totals.bytes_stored
    assert asyncio.run(verify(str(configuration), level="content")).passed

    report = restored(asyncio.run(recover(str(configuration), data_docs=str(tmp_path / "docs"))))
    assert (report.backup, report.passed) == (second.backup, True)
    assert report.integrity is not None
    assert Path(report.integrity.data_docs).exists()
    assert report.integrity.rows_observed == report.integrity.rows_expected
    assert {name: count_rows(destination.dsn()).get(name) for name in expected} == expected
