"""Facts about comparing, showing, applying and confirming as operations: from a repository, over mortal connections."""

from pathlib import Path

import psycopg
import pytest

from strongroom.errors import PlanUnfit, SourceUnavailable
from strongroom.operations.recovery_messages import (
    CompareLive,
    DifferencesReport,
    RowDifference,
    RowsShown,
    ShowRows,
)
from strongroom.recovery.applying import Applying, CommitUnknown
from tests.conftest import MakeDatabase
from tests.recoveries import Recoveries
from tests.row_backups import Keys


@pytest.fixture
def recoveries(
    quantforge: MakeDatabase, tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> Recoveries:
    """Make a database with the application, and a full backup of it."""
    made = Recoveries.make(quantforge().dsn(), tmp_path, keys, monkeypatch)
    made.execute("CREATE TABLE public.mine (id serial PRIMARY KEY, owner text, note text)")
    made.execute(
        "INSERT INTO public.mine (owner, note) SELECT 'o' || g % 5, 'good' FROM generate_series(1, 500) g"
    )
    made.backups.back_up("full")
    return made


def test_a_customer_comes_back_and_nobody_else_is_touched(recoveries: Recoveries) -> None:
    """Rows of one owner by a condition; what others have written since stays."""
    before = recoveries.rows("public.mine")
    recoveries.execute("DELETE FROM public.mine WHERE owner = 'o3'")
    recoveries.execute("UPDATE public.mine SET note = 'since' WHERE id = 1")
    since = recoveries.rows("public.mine")
    applied = recoveries.carry_out(recoveries.plan("public.mine", where="owner = 'o3'"))
    assert (100, 0, 0) == (applied.tables[0].inserts, applied.tables[0].changes, applied.tables[0].deletes)
    after = recoveries.rows("public.mine")
    assert since <= after
    assert {b"1\to1\tgood\n"} == set(before - after)


def test_trades_of_the_shape_are_recovered_exactly(recoveries: Recoveries) -> None:
    """A published table with a generated column: the main scenario on Postgres 18, generated values included."""
    before = recoveries.rows("public.trades")
    recoveries.execute("ALTER TABLE public.trades REPLICA IDENTITY DEFAULT")
    recoveries.execute("UPDATE public.trades SET comment = 'damaged', close_price = 1 WHERE id % 3 = 0")
    recoveries.execute("DELETE FROM public.trades WHERE id % 7 = 0")
    recoveries.execute("ALTER TABLE public.trades REPLICA IDENTITY FULL")
    applied = recoveries.carry_out(recoveries.plan("public.trades"))
    assert before == recoveries.rows("public.trades")
    assert ["readers-waited"] == [one.code for one in applied.findings]


def test_rows_are_shown_before_anything_happens(recoveries: Recoveries) -> None:
    """Of every kind some, with what differs; long values are cut, and still known to differ."""
    recoveries.execute("UPDATE public.mine SET note = repeat('x', 300) WHERE id = 7")
    recoveries.execute("DELETE FROM public.mine WHERE id > 490")
    recoveries.execute("INSERT INTO public.mine VALUES (1000, 'new', NULL)")
    plan = recoveries.plan("public.mine", "public.symbols")
    with recoveries.hold(plan) as run:
        recoveries.compare(plan, run.owner)
        shown = recoveries.run("show_rows", ShowRows(plan=plan, most=4), RowsShown)
        recoveries.finish(plan, run.owner, "failed")
    assert ["public.mine"] == [table.table for table in shown.tables]
    rows = {row.kind: row for row in shown.tables[0].rows}
    assert 4 == len(shown.tables[0].rows)
    assert RowDifference(kind="change", key="id=7", columns=(("note", "x" * 200, "good"),)) == rows["change"]
    assert (("id", "1000", None), ("owner", "new", None), ("note", None, None)) == rows["delete"].columns
    assert ("note", None, "good") in rows["insert"].columns


@pytest.mark.parametrize("is_committed", [True, False])
def test_after_a_lost_connection_the_journal_knows(
    recoveries: Recoveries, monkeypatch: pytest.MonkeyPatch, is_committed: bool
) -> None:
    """The connection dies at the commit: a run that was committed never fails, one that was not never succeeds."""
    before = recoveries.rows("public.mine")
    recoveries.execute("UPDATE public.mine SET note = 'bad'")
    damaged = recoveries.rows("public.mine")
    plan = recoveries.plan("public.mine")

    def lose(self: Applying) -> None:
        if is_committed:
            self.connection.execute("COMMIT")
        self.connection.close()
        raise CommitUnknown from psycopg.OperationalError("the connection is lost")

    with recoveries.hold(plan) as run:
        recoveries.compare(plan, run.owner)
        with monkeypatch.context() as patch:
            patch.setattr(Applying, "_commit", lose)
            if is_committed:
                assert 500 == recoveries.apply(plan, run.owner).tables[0].changes
            else:
                with pytest.raises(SourceUnavailable):
                    recoveries.apply(plan, run.owner)
        assert (before if is_committed else damaged) == recoveries.rows("public.mine")
        assert is_committed == recoveries.apply(plan, run.owner).already_done
        assert before == recoveries.rows("public.mine")
        recoveries.finish(plan, run.owner, "recovered")


def test_a_server_that_ends_the_session_has_committed_nothing(
    recoveries: Recoveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An administrator ends it just before the commit: the error may pass, and the run goes on afterwards."""
    recoveries.execute("UPDATE public.mine SET note = 'bad'")
    damaged = recoveries.rows("public.mine")
    plan = recoveries.plan("public.mine")
    commit = Applying._commit

    def killed(self: Applying) -> None:
        recoveries.execute("SELECT pg_terminate_backend(%s)", self.connection.info.backend_pid)
        commit(self)

    with recoveries.hold(plan) as run:
        recoveries.compare(plan, run.owner)
        with monkeypatch.context() as patch:
            patch.setattr(Applying, "_commit", killed)
            with pytest.raises(SourceUnavailable):
                recoveries.apply(plan, run.owner)
        assert damaged == recoveries.rows("public.mine")
        assert not recoveries.apply(plan, run.owner).already_done
        recoveries.finish(plan, run.owner, "recovered")


def test_comparing_after_the_commit_tells_what_was_done(recoveries: Recoveries) -> None:
    """A flow that goes on after a crash learns what the run has touched, and nothing of it is forgotten."""
    recoveries.execute("UPDATE public.mine SET note = 'bad' WHERE id < 11")
    plan = recoveries.plan("public.mine")
    with recoveries.hold(plan) as run:
        recoveries.compare(plan, run.owner)
        with pytest.raises(PlanUnfit):
            recoveries.confirm(plan)
        recoveries.apply(plan, run.owner)
        again = recoveries.run("compare_live", CompareLive(plan=plan, owner=run.owner), DifferencesReport)
        assert 10 == again.tables[0].changes
        kept = recoveries.execute("SELECT count(*) FROM strongroom_staging.differences_0")
        assert [(10,)] == kept
        recoveries.finish(plan, run.owner, "recovered")
