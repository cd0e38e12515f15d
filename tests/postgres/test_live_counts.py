"""Facts about counting live tables for a plan."""

import psycopg
import pytest

from strongroom.deadline import Deadline
from strongroom.postgres.connection import Connection, connect
from strongroom.recovery import live_counts
from strongroom.recovery.live_counts import count_live
from strongroom.recovery.planning.facts import LiveCount
from tests.databases import Database


def opened(database: Database, user: str = "postgres") -> Connection:
    """Connect as the engine does."""
    return connect(database.conninfo(user), Deadline.never())


def test_tables_are_counted_each_by_itself(database: Database) -> None:
    """A child table's rows are not its parent's; what is no table with rows of its own is left out."""
    wanted = [("public", "signals"), ("public", "ticks"), ("public", "Weird Table-Name"), ("no", "table")]
    with opened(database) as connection:
        counts = count_live(connection, wanted, 20)
        row = connection.execute("SELECT count(*) FROM ONLY public.signals").fetchone()
    assert row is not None
    assert LiveCount(row[0]) == counts["public.signals"]
    assert {"public.signals", "public.Weird Table-Name"} == set(counts)
    assert all(count.is_exact for count in counts.values())


def test_without_time_the_servers_estimate_stands_in(database: Database) -> None:
    """And is called one; a table without statistics is not counted at all."""
    with psycopg.connect(database.dsn(), autocommit=True) as connection:
        connection.execute("ANALYZE public.signals")
        connection.execute("CREATE TABLE public.fresh AS SELECT 1 AS n")
    wanted = [("public", "signals"), ("public", "fresh")]
    with opened(database) as live:
        exact = count_live(live, wanted, 20)
        estimated = count_live(live, wanted, 0)
    assert {"public.signals": LiveCount(exact["public.signals"].rows, is_exact=False)} == estimated


def test_a_count_that_takes_too_long_is_given_up(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session stays usable, and the next table is counted."""
    with psycopg.connect(database.dsn()) as holder, opened(database) as live:
        holder.execute("LOCK TABLE public.signals IN ACCESS EXCLUSIVE MODE")
        monkeypatch.setattr(live_counts, "LONGEST_COUNT_SECONDS", 0.2)
        counts = count_live(live, [("public", "signals"), ("public", "symbols")], 20)
    assert counts["public.symbols"].is_exact
    assert not counts.get("public.signals", LiveCount(0, is_exact=False)).is_exact


def test_what_may_not_be_read_is_not_counted(database: Database) -> None:
    """A role that row security hides rows from would see a loss where there is none."""
    with opened(database) as live:
        live.execute("SET ROLE authenticated")
        counts = count_live(live, [("public", "robots"), ("private", "api_keys"), ("auth", "users")], 20)
    assert {} == counts
