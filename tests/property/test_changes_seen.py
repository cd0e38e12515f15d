"""Single situations in which rows could be taken for unchanged: each was, or nearly was, a defect once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import psycopg
import pytest

from strongroom.errors import HistoryDiverged
from tests.databases import Database
from tests.row_backups import Keys, RowBackups, small_extents

Writer: TypeAlias = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture
def backups(
    empty_database: Database, tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> RowBackups:
    """Make a repository for an empty database, with tiny extents."""
    small_extents(monkeypatch)
    return RowBackups.make(empty_database.dsn(), tmp_path, keys, monkeypatch)


@pytest.fixture
def writer(empty_database: Database) -> Iterator[Writer]:
    """Open a session that changes things."""
    with psycopg.connect(empty_database.dsn(), autocommit=True) as connection:
        yield connection


def _never_recheck(monkeypatch: pytest.MonkeyPatch) -> None:
    """What must be right without the digests that are compared by sample."""
    monkeypatch.setattr("strongroom.postgres.capture._RECHECK_ONE_IN", 1 << 32)


def test_a_change_of_columns_before_an_interrupted_attempt_is_seen_after_it(
    backups: RowBackups, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent is older than the new column, the attempt is not, and the attempt has not read the table."""
    _never_recheck(monkeypatch)
    writer.execute("CREATE TABLE t AS SELECT g AS id FROM generate_series(1, 100) g")
    backups.back_up("full")
    writer.execute("ALTER TABLE t ADD COLUMN added text DEFAULT 'everywhere'")
    attempt = backups.interrupt(units=0)
    resumed: list[str] = []
    backup = backups.back_up("incremental", lambda plan: resumed.append(plan.resumes))
    assert [attempt.backup] == resumed
    backups.assert_true(backup)


def test_an_attempt_that_read_the_table_after_a_change_of_columns_is_used(
    backups: RowBackups, writer: Writer
) -> None:
    """What the attempt read has the new columns already, and is not read again."""
    writer.execute("CREATE TABLE t AS SELECT g AS id FROM generate_series(1, 100) g")
    backups.back_up("full")
    writer.execute("ALTER TABLE t ADD COLUMN added text DEFAULT 'everywhere'")
    backups.interrupt(units=1)
    report = backups.report("incremental")
    assert 0 == report.totals.rows_read
    backups.assert_true(report.backup)


def test_rows_that_moved_before_an_interrupted_attempt_are_known_where_they_are_now(
    backups: RowBackups, writer: Writer
) -> None:
    """An update that changes no value leaves every digest as it was, and every row at another tuple id."""
    writer.execute("CREATE TABLE t AS SELECT g AS id FROM generate_series(1, 100) g")
    backups.back_up("full")
    writer.execute("UPDATE t SET id = id WHERE id % 2 = 0")
    backups.interrupt(units=1)
    resumed = backups.report("incremental")
    writer.execute("DELETE FROM t WHERE id % 3 = 0")
    after = backups.report("incremental")
    assert (0, ()) == (resumed.totals.rows_read, after.findings)
    for report in (resumed, after):
        backups.assert_true(report.backup)


def test_a_full_never_builds_on_an_attempt_that_an_earlier_full_was_built_on(
    backups: RowBackups, writer: Writer
) -> None:
    """One damaged pack can never take two fulls."""
    writer.execute("CREATE TABLE t AS SELECT g AS id FROM generate_series(1, 100) g")
    backups.interrupt(units=1, kind="full")
    fulls = [backups.manifest(backups.back_up("full")) for _ in range(2)]
    packs = [{pack.name for pack in full.packs} for full in fulls]
    assert set() == packs[0] & packs[1]


def test_rows_that_were_committed_after_a_snapshot_with_older_ids_are_found(
    backups: RowBackups, writer: Writer, empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that was open at the parent's snapshot is older than others that the parent holds."""
    _never_recheck(monkeypatch)
    writer.execute("CREATE TABLE t (id int, note text)")
    with psycopg.connect(empty_database.dsn()) as slow:
        slow.execute("INSERT INTO t SELECT g, 'slow' FROM generate_series(1, 50) g")
        writer.execute("INSERT INTO t SELECT g, 'quick' FROM generate_series(1, 50) g")
        backups.back_up("full")
        slow.commit()
    backups.assert_true(backups.back_up("incremental"))
    assert 100 == sum(backups.rows_of(backups.listed()[-1])["public", "t"].values())


def test_a_place_that_is_used_again_holds_another_row(
    backups: RowBackups, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same tuple id with another version of a row is another row, also if the counts are equal."""
    _never_recheck(monkeypatch)
    writer.execute("CREATE TABLE t (id int, note text)")
    writer.execute("INSERT INTO t SELECT g, 'first' FROM generate_series(1, 500) g")
    backups.back_up("full")
    for turn in range(4):
        writer.execute("DELETE FROM t WHERE id %% 7 = %s", [turn])
        writer.execute("VACUUM t")
        writer.execute(
            "INSERT INTO t SELECT g, 'again' FROM generate_series(1, 500) g WHERE g %% 7 = %s", [turn]
        )
        backups.assert_true(backups.back_up("incremental"))


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'",
        "ALTER TYPE pair DROP ATTRIBUTE b CASCADE",
        "ALTER TYPE pair ADD ATTRIBUTE c int CASCADE",
        "ALTER TABLE named RENAME TO renamed",
        "ALTER TABLE named SET SCHEMA elsewhere",
        "ALTER SCHEMA elsewhere RENAME TO moved",
        "ALTER FUNCTION elsewhere.act(mood) RENAME TO acted",
        "ALTER TYPE mood RENAME TO temper",
        "ALTER TYPE mood SET SCHEMA elsewhere",
        "ALTER TABLE t RENAME m TO m2",
        "ALTER TABLE t ALTER v TYPE varchar(9)",
        "ALTER TABLE t ADD COLUMN added int DEFAULT 5",
        "ALTER TABLE t DROP COLUMN v",
        "ALTER TABLE t DROP COLUMN v, ADD COLUMN v varchar(5)",
        "ALTER TABLE t RENAME TO t2",
        "ALTER TABLE t SET SCHEMA elsewhere",
        "ALTER ROLE somebody RENAME TO anybody",
        "CREATE FUNCTION elsewhere.act() RETURNS void LANGUAGE sql AS ''",
        "DROP TABLE named CASCADE",
    ],
)
def test_a_change_of_names_that_shows_in_old_rows_is_seen(
    backups: RowBackups, writer: Writer, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Renaming a label, an attribute or what a reg* value names changes rows without touching them."""
    _never_recheck(monkeypatch)
    writer.execute("DROP ROLE IF EXISTS somebody, anybody")
    writer.execute(
        "CREATE ROLE somebody; CREATE SCHEMA elsewhere; CREATE TYPE mood AS ENUM ('sad', 'ok');"
        " CREATE TYPE pair AS (a int, b text); CREATE DOMAIN moody AS mood; CREATE TABLE named (id int);"
        " CREATE TABLE elsewhere.thing (id int);"
        " CREATE FUNCTION elsewhere.act(mood) RETURNS void LANGUAGE sql AS '';"
        " CREATE TABLE t (m mood, ms mood[], d moody, p pair, ps pair[], c regclass, e regclass, f regprocedure,"
        " g regproc, y regtype, n regnamespace, a aclitem, r regrole, v varchar(5));"
        " INSERT INTO t SELECT 'sad', '{sad,ok}', 'sad', '(1,x)', ARRAY['(1,x)'::pair], 'named',"
        " 'elsewhere.thing', 'elsewhere.act(mood)', 'elsewhere.act', 'mood', 'elsewhere',"
        " 'somebody=r/postgres', 'somebody', 'v' FROM generate_series(1, 10)"
    )
    backups.back_up("full")
    writer.execute(change.encode())
    backups.assert_true(backups.back_up("incremental"))
    backups.assert_true(backups.back_up("incremental"))


def test_rows_are_paired_with_their_tuple_ids_whatever_the_planner_prefers(
    backups: RowBackups, writer: Writer, empty_database: Database
) -> None:
    """Settings of the role or database that favour parallel plans change no order."""
    for setting in (
        "parallel_setup_cost = 0",
        "parallel_tuple_cost = 0",
        "min_parallel_table_scan_size = 0",
        "enable_tidscan = off",
        "max_parallel_workers_per_gather = 4",
        "synchronize_seqscans = on",
    ):
        writer.execute(f"ALTER DATABASE {empty_database.name} SET {setting}".encode())
    writer.execute("CREATE TABLE t AS SELECT g AS id, repeat('x', 200) AS x FROM generate_series(1, 3000) g")
    backups.back_up("full")
    for turn in range(3):
        writer.execute("UPDATE t SET x = x || 'y' WHERE id %% 10 = %s", [turn])
        backups.assert_true(backups.back_up("incremental"))


def test_rows_that_changed_behind_the_ids_are_found_out_by_sample(
    backups: RowBackups, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parent whose digests are not those of the source stands for another history: nothing is built on it."""
    writer.execute("CREATE TABLE t AS SELECT g AS id FROM generate_series(1, 5000) g")
    backups.back_up("full")
    monkeypatch.setattr("strongroom.postgres.capture._RECHECK_ONE_IN", 1)
    monkeypatch.setattr("strongroom.postgres.capture.read_digest", lambda *_: (0, "0"))
    with pytest.raises(HistoryDiverged):
        backups.back_up("incremental")


def test_an_extent_with_many_layers_is_read_again(backups: RowBackups, writer: Writer) -> None:
    """Layers do not pile up: after a while an extent is one layer again."""
    writer.execute("CREATE TABLE t (id int, n int) WITH (fillfactor = 40)")
    writer.execute("INSERT INTO t SELECT g, 0 FROM generate_series(1, 100) g")
    backups.back_up("full")
    layers: list[int] = []
    for turn in range(12):
        writer.execute("UPDATE t SET n = n + 1 WHERE id = %s", [turn])
        backup = backups.back_up("incremental")
        backups.assert_true(backup)
        repository = backups.repository()
        documents = [repository.read_unit_document(r) for r in repository.read_manifest(backup).documents]
        layers.append(max(len(e.layers) for d in documents for p in d.parts for e in p.extents))
    assert (8, 1) == (max(layers), min(layers[8:]))
