"""Facts about indexes of partitioned tables after a recovery: attached by one session, and valid, or it is said."""

import psycopg

from strongroom.deadline import Deadline
from strongroom.postgres.archive_selection import stages_of_indexes
from strongroom.postgres.archive_toc import TocEntry
from strongroom.postgres.connection import connect
from strongroom.recovery.empty_destination import find_invalid_indexes
from tests.databases import Database


def entry(number: int, description: str, *depends_on: int) -> TocEntry:
    """Make an entry of what comes after the rows."""
    return TocEntry(
        number, 0, 0, f"o{number}", description, "post-data", "…", "public", "postgres", depends_on
    )


def test_attachments_have_a_stage_of_their_own() -> None:
    """What needs an attached index, at whatever distance, comes after them; each stage is in the archive's order."""
    indexes = [entry(1, "INDEX"), entry(2, "INDEX"), entry(3, "CONSTRAINT")]
    attachments = [entry(4, "INDEX ATTACH", 1, 2), entry(5, "INDEX ATTACH", 3)]
    needing = [entry(7, "FK CONSTRAINT", 5, 1), entry(8, "COMMENT", 7)]
    others = [entry(6, "TRIGGER", 1), entry(9, "FK CONSTRAINT", 1)]
    entries = [*indexes, *attachments, others[0], *needing, others[1]]
    assert ([*indexes, *others], attachments, needing) == stages_of_indexes(entries)
    assert ([], [], []) == stages_of_indexes([])


def test_an_index_that_is_left_invalid_is_told(empty_database: Database) -> None:
    """Where all its parts are attached and valid; one that somebody has begun and not finished is as it was."""
    with connect(empty_database.conninfo(), Deadline.after(60, "test")) as session:
        session.execute("CREATE SCHEMA parts")
        session.execute("CREATE TABLE parts.whole (id int, name text) PARTITION BY LIST (id)")
        for number in (1, 2):
            session.execute(
                f"CREATE TABLE parts.p{number} PARTITION OF parts.whole FOR VALUES IN ({number})".encode()
            )
        session.execute("CREATE INDEX good ON parts.whole (id)")
        session.execute("CREATE INDEX begun ON ONLY parts.whole (name)")
        session.execute("CREATE INDEX part ON parts.p1 (name)")
        session.execute("ALTER INDEX parts.begun ATTACH PARTITION parts.part")
        assert () == find_invalid_indexes(session)
        superuser = empty_database.dsn(empty_database.server.superuser)
        with psycopg.connect(superuser, autocommit=True) as admin:
            admin.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'parts.good'::regclass")
        (finding,) = find_invalid_indexes(session)
    assert ("error", "index-not-valid", "index parts.good") == (
        finding.severity,
        finding.code,
        finding.object,
    )
