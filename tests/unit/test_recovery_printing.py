"""Facts about what plans and recoveries look like on a terminal."""

import datetime as dt
import io

import msgspec
import pytest

from deployments.printing import console_on
from deployments.recovery_printing import (
    print_clean,
    print_differences,
    print_in_place,
    print_plan,
    print_recoveries,
    print_rows,
)
from deployments.watching import sentence
from strongroom.format.documents import Finding
from strongroom.format.recovery_plans import PlannedStep, RecoveryPlan, ScopedTable, TableEstimate
from strongroom.operations.messages import Check, Message
from strongroom.operations.recovery_messages import (
    ApplyReport,
    CleanReport,
    ConfirmReport,
    DifferencesReport,
    InPlaceReport,
    RecoveriesReport,
    RecoveryBrief,
    RecoveryCheckReport,
    RowDifference,
    RowsShown,
    RunReport,
    StagingReport,
    TableDifferences,
    TableRowsShown,
    ValidationReport,
)

NOON = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
PLAN = RecoveryPlan(
    format=3,
    id="recovery-1",
    made_at=NOON,
    scenario="data_corruption",
    source="quantforge",
    backup="20261123-034500000-9f3a61c2d4",
    recovery_point=NOON - dt.timedelta(hours=8),
    why="It is the newest proven backup.",
    destination="source",
    strategy="exact",
    tables=(
        ScopedTable(schema="public", name="robots"),
        ScopedTable(schema="public", name="trades", where="robot_id = 7"),
    ),
    steps=(
        PlannedStep(
            name="check",
            title="Check the live database",
            phase="assess",
            critical=True,
            budget_seconds=90,
            rollback="nothing to undo",
        ),
        PlannedStep(
            name="report",
            title="Report",
            phase="validate",
            critical=False,
            budget_seconds=60,
            rollback="nothing to undo",
        ),
    ),
    estimates=(
        TableEstimate(table="public.robots", rows=40),
        TableEstimate(table="public.trades", rows=2000, rows_live=2110),
    ),
    proven="content",
    proven_at=NOON - dt.timedelta(hours=7),
    estimated_downtime_seconds=1.4,
    estimate_basis="Writers wait about 1.4 s, readers never.",
    risk="high",
    risk_reason="At least 110 live rows would be deleted.",
    recovery_lag_seconds=8 * 3600.0,
    recovery_lag_objective_seconds=6 * 3600.0,
    recovery_duration_objective_seconds=1800.0,
    not_restored=("the schema", "roles"),
    findings=(
        Finding(severity="info", code="damage-may-be-older", object="b", observed="it may be"),
        Finding(severity="warning", code="forced", object="--force", observed="no limits"),
    ),
)

GOLDEN = """\
Plan recovery-1 for data corruption; nothing was done yet.
source quantforge
recovery point 2026-11-23 04:00:00 UTC
backup 20261123-034500000-9f3a61c2d4 (proven)
because It is the newest proven backup.
how exact, in place, in the live database
downtime Writers wait about 1.4 s, readers never.
recovery lag 8 h (objective 6 h, MISSED)
time limit 30 min
way back an emergency backup, rolled back to by itself (immediate)
risk HIGH: At least 110 live rows would be deleted.
minutes phase step what undoes it
0–1.5 assess Check the live database critical nothing to undo
1.5–2.5 validate Report nothing to undo
table rows then rows now condition
public.robots 40 not counted all rows
public.trades 2 000 2 110 robot_id = 7
Not restored:
– the schema
– roles
warning forced --force: no limits.
info damage-may-be-older b: it may be.
To carry it out:
strongroom recover run plan.json"""


def written(show: object, *reports: object, **options: object) -> str:
    """Return what is printed, without rules, empty lines and the spaces that only make columns."""
    stream = io.StringIO()
    show(console_on(stream), *reports, **options)  # type: ignore[operator]
    lines = [" ".join(line.split()) for line in stream.getvalue().splitlines()]
    return "\n".join(line for line in lines if line.strip("─ "))


def changed(**fields: object) -> RecoveryPlan:
    """Return the plan with other fields."""
    return msgspec.structs.replace(PLAN, **fields)


def test_a_plan_is_told_in_one_order() -> None:
    """What matters most comes first, the command to type last."""
    assert GOLDEN == written(print_plan, PLAN, "strongroom recover run plan.json")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"proven": ""}, "(NOT PROVEN)"),
        ({"recovery_lag_seconds": 60.0}, "recovery lag 1 min (objective 6 h)"),
        ({"recovery_duration_objective_seconds": 0.0}, "time limit none"),
        ({"emergency_backup": False}, "way back NONE: no emergency backup is taken"),
        (
            {"rollback_on_error": False},
            "way back an emergency backup, to be recovered from by hand",
        ),
        ({"undoes": "recovery-0"}, "way back this is the way back from recovery-0"),
        ({"destination": "environment"}, "way back the source is not touched"),
        ({"estimate_basis": ""}, "downtime about 1.4 s"),
        ({"why": "a\x1b[31mb"}, r"because a\x1b[31mb"),
    ],
)
def test_a_plan_tells_what_is_unusual(fields: dict[str, object], words: str) -> None:
    """What is missed or refused stands where the usual would."""
    assert words in written(print_plan, changed(**fields))


def test_of_many_tables_the_largest_are_shown() -> None:
    """In the plan's order, and how many more there are."""
    labels = [f"t{n:02}" for n in range(30)]
    many = changed(
        tables=tuple(ScopedTable(schema="public", name=name) for name in labels),
        estimates=tuple(TableEstimate(table=f"public.{name}", rows=n) for n, name in enumerate(labels)),
    )
    text = written(print_plan, many)
    assert "public.t17" not in text
    assert text.index("public.t18") < text.index("public.t29") < text.index("and 18 smaller tables")


def test_differences_name_rows_that_were_written_since() -> None:
    """They are most likely the application's own work."""
    tables = (
        TableDifferences(
            table="public.trades", inserts=1, changes=2000, deletes=30, deletes_written_since=7, kept=4
        ),
    )
    text = written(print_differences, tables)
    assert "public.trades 1 2 000 30 7 4" in text
    assert (
        "7 rows were written after the recovery point and would be deleted; a merge strategy keeps what is new."
        in text
    )
    assert "7 rows were written after the recovery point and were deleted." in written(
        print_differences, tables, done=True
    )
    assert "written after" not in written(print_differences, (TableDifferences(table="t", deletes=3),))
    one = TableDifferences(table="t", deletes=1, deletes_written_since=1)
    assert "1 row was written after the recovery point and was deleted." in written(
        print_differences, (one,), done=True
    )


def test_of_tables_without_differences_only_their_number_is_shown() -> None:
    """A row that is left alone is a difference, though nothing is done to it."""
    equal = TableDifferences(table="public.equal", rows_staged=5, rows_live=5)
    kept = TableDifferences(table="public.kept", kept=3)
    text = written(print_differences, (equal, kept, equal))
    assert "public.equal" not in text
    assert "public.kept 0 0 0 0 3" in text
    assert text.endswith("and 2 tables without differences")
    assert "1 table without differences" == written(print_differences, (equal,))


def test_rows_are_shown_before_and_after() -> None:
    """Nulls are no text, and what is in a row does not steer the terminal."""
    shown = RowsShown(
        tables=(
            TableRowsShown(
                table="public.robots",
                rows=(
                    RowDifference(
                        kind="change", key="id=1", columns=(("name", "x\x1b", "y"), ("tag", None, "z"))
                    ),
                    RowDifference(kind="insert", key="id=2", columns=(("name", None, "back"),)),
                    RowDifference(kind="delete", key="id=3", columns=(("name", "gone", None),)),
                ),
            ),
            TableRowsShown(table="public.trades", rows=()),
        )
    )
    assert (
        "public.robots\n~ change id=1\nname: x\\x1b → y\ntag: null → z\n+ insert id=2\nname: back\n"
        "- delete id=3\nname: gone"
    ) == written(print_rows, shown)


def test_a_recovery_tells_how_it_ended() -> None:
    """Its outcome first, then what was changed, how long writers waited, and what the system answered."""
    changes = (TableDifferences(table="public.robots", changes=3),)
    report = InPlaceReport(
        run="recovery-1",
        plan=PLAN,
        outcome="rolled-back",
        emergency_backup="20261123-120000000-aaaaaaaaaa",
        differences=DifferencesReport(tables=changes),
        applied=ApplyReport(
            tables=changes,
            committed_at=NOON,
            lock_seconds=0.2,
            lock_attempts=3,
            sequences_moved=("public.ticket_seq",),
        ),
        validation=ValidationReport(
            passed=False,
            checks=(
                Check(name="anon answers", passed=True, observed="yes"),
                Check(name="health", passed=False, observed="500"),
                Check(name="authenticator", passed=False, observed="none", severity="warning"),
            ),
        ),
        approved_by="Ada",
    )
    text = written(print_in_place, report)
    assert text.startswith("Recovery recovery-1: rolled-back\n")
    for words in (
        "approved by Ada",
        "writers waited 0.2 s after 3 attempts",
        "sequences moved public.ticket_seq",
        "public.robots 0 3 0 0 0",
        "[ok] anon answers yes",
        "[no] health 500",
        "[!] authenticator none",
    ):
        assert words in text
    plain = msgspec.structs.replace(
        report, applied=None, validation=None, emergency_backup="", approved_by=""
    )
    assert "emergency backup none" in written(print_in_place, plain)


def test_status_tells_what_can_be_done_about_a_run_that_was_cut_off() -> None:
    """One that is under way is left alone."""
    run = RunReport(run="recovery-1", state="committed", emergency_backup="b")
    brief = RecoveryBrief(
        run="recovery-0",
        at=NOON,
        outcome="recovered",
        scenario="custom",
        backup="a",
        strategy="exact",
        by="ada@desk",
        rows=3000,
        seconds=61,
    )
    cut_off = written(print_recoveries, RecoveriesReport(under_way=run, plan=PLAN, earlier=(brief,)))
    assert "Recovery recovery-1 is cut off, in the state committed." in cut_off
    assert "Undo it: strongroom recover rollback recovery-1" in cut_off
    assert "recovery-0 2026-11-23 12:00:00 UTC recovered custom exact 3 000 1 min 1 s – ada@desk" in cut_off
    held = written(print_recoveries, RecoveriesReport(under_way=run, is_held=True))
    assert ("is under way" in held, "Undo it" in held) == (True, False)
    assert "No recovery is under way." == written(print_recoveries, RecoveriesReport())


def test_clean_tells_whether_anything_had_been_changed() -> None:
    """What was committed stays, and that must be known."""
    assert "There was nothing to remove." == written(print_clean, CleanReport(removed=()))
    kept = CleanReport(removed=("strongroom_staging",), run="recovery-1", changed=True)
    assert (
        "Removed strongroom_staging, left by recovery-1.\nThat run had committed its changes: they stay."
        == written(print_clean, kept)
    )
    unchanged = msgspec.structs.replace(kept, changed=False)
    assert "That run had changed nothing." in written(print_clean, unchanged)


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (RecoveryCheckReport(tables=()), "checked the live database: 0 tables, 0 findings"),
        (StagingReport(tables=2, rows=1500, units=()), "staging 1 500 rows of 2 tables"),
        (
            DifferencesReport(tables=(TableDifferences(table="t", inserts=2, changes=1),), seconds=1),
            "compared with live: 3 rows differ, 1.0 s",
        ),
        (
            ApplyReport(
                tables=(TableDifferences(table="t", deletes=2),),
                committed_at=NOON,
                lock_seconds=0.25,
                rows_locked_seconds=1.5,
            ),
            "committed 2 rows; writers waited 0.2 s, for the rows that differed 1.5 s",
        ),
        (
            ApplyReport(tables=(), committed_at=NOON, lock_seconds=0, already_done=True),
            "committed already, 2026-11-23 12:00:00 UTC",
        ),
        (
            ConfirmReport(passed=True, differing=0, written_since=3, rows_compared=9),
            "compared again: live is what was wanted, 3 rows written since",
        ),
        (
            ConfirmReport(passed=False, differing=2, written_since=0, rows_compared=9),
            "compared again: 2 rows STILL DIFFER, 0 rows written since",
        ),
        (
            ValidationReport(passed=True, checks=(Check(name="a", passed=True, observed="yes"),)),
            "asked as the application would: 1 of 1 checks passed",
        ),
        (CleanReport(removed=()), ""),
    ],
)
def test_each_step_is_told_in_a_line(report: Message, words: str) -> None:
    """On the terminal of whoever watches the recovery."""
    assert words == sentence(report)
