"""Facts about recovery plans: which recovery point, which tables in which order, how long, at what risk."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import (
    EmergencyBackupNeeded,
    NoRecoveryPoint,
    NothingInScope,
    OnlyUnverified,
    PlanUnfit,
    RecoveryPointTooOld,
    StrategyUnfit,
)
from strongroom.format.codec import decode_json
from strongroom.format.documents import ForeignKey, Manifest, TableEntry
from strongroom.format.records import (
    DrillRecord,
    DrillTable,
    RecoveredTable,
    RecoveryRecord,
    VerificationRecord,
)
from strongroom.format.recovery_plans import (
    RecoveryPlan,
    Risk,
    Scenario,
    ScopedTable,
    Strategy,
    TableEstimate,
)
from strongroom.operations.recovery_messages import Wishes
from strongroom.recovery.planning.choosing import choose_point
from strongroom.recovery.planning.estimates import estimate
from strongroom.recovery.planning.facts import LiveCount, Measured, PlanFacts, RecoveryPoint, RecoveryPolicy
from strongroom.recovery.planning.plan import plan_recovery, plan_rollback
from strongroom.recovery.planning.risk import DataLoss, assess_loss, percent_lost
from strongroom.recovery.planning.scope import choose_scope, read_scoped_table, write_scoped_table
from strongroom.recovery.planning.wording import counted, listed, span
from strongroom.retention.facts import BackupFacts
from tests.documents import BACKUP, NOON, SNAPSHOT, manifest, table

HOUR = dt.timedelta(hours=1)
NOW = NOON + 2 * HOUR
POLICY = RecoveryPolicy()
RANK = ("low", "medium", "high")


def point(hours_ago: float, proven: str = "structure", **fields: Any) -> RecoveryPoint:
    """Make a recovery point that is called by its age."""
    return RecoveryPoint(
        **{
            "backup": f"b{hours_ago:g}",
            "source": "quantforge",
            "at": NOW - hours_ago * HOUR,
            "proven": proven,
            "proven_at": NOW - hours_ago * HOUR if proven else None,
            **fields,
        }
    )


def entry(name: str, *parents: str, rows: int = 1000, schema: str = "public", **facts: Any) -> TableEntry:
    """Make a table of a backup whose foreign keys lead to tables of these labels."""
    keys = tuple(
        ForeignKey(
            name=f"{name}_{to}",
            columns=("id",),
            to_schema=to.partition(".")[0],
            to_table=to.partition(".")[2],
            to_columns=("id",),
        )
        for to in parents
    )
    described = table(name=name, schema=schema, foreign_keys=keys, **facts)
    return TableEntry(facts=described, rows=rows, digest="", parts=())


def quant_manifest(**fields: Any) -> Manifest:
    """Make the manifest of a small trading platform with two tables of the platform's."""
    return manifest(
        tables=(
            entry("trades", "public.robots", rows=2000, size=1 << 20),
            entry("robots", "public.developers", rows=40),
            entry("developers", "auth.users", rows=10),
            entry("users", rows=10, schema="auth", managed=True),
            entry("objects", rows=5, schema="storage", managed=True),
        ),
        **fields,
    )


def facts(wishes: Wishes | None = None, live: dict[str, int] | None = None, **fields: Any) -> PlanFacts:
    """Make what is known, live being what the backup holds unless told otherwise."""
    held = fields.pop("manifest", quant_manifest())
    same = {f"{one.facts.schema}.{one.facts.name}": one.rows for one in held.tables}
    counts = {name: LiveCount(rows) for name, rows in (same | (live or {})).items()}
    return PlanFacts(
        **{
            "source": "quantforge",
            "wishes": wishes or Wishes(),
            "manifest": held,
            "random": b"\x01\x02\x03\x04\x05",
            "live": counts,
            **fields,
        }
    )


def own_point(**fields: Any) -> RecoveryPoint:
    """Return the recovery point of `quant_manifest`, two hours old."""
    return point(2, backup=BACKUP, at=NOON, **fields)


def plan(scenario: Scenario = "data_corruption", **fields: Any) -> RecoveryPlan:
    """Plan a recovery of the small platform."""
    return plan_recovery(scenario, [own_point()], facts(**fields), POLICY, NOW)


def codes(made: RecoveryPlan) -> set[str]:
    """Return the codes of a plan's findings."""
    return {finding.code for finding in made.findings}


# ------------------------------------------------------------------------------------ recovery point

CHOICES: list[tuple[str, list[RecoveryPoint], Wishes, str]] = [
    ("the newest proven one", [point(9), point(3), point(6)], Wishes(), "b3"),
    ("not a newer unproven one", [point(3), point(1, "")], Wishes(), "b3"),
    ("nor one of another source", [point(3), point(1, source="other")], Wishes(), "b3"),
    ("nor an emergency backup", [point(3), point(1, backup_class="emergency")], Wishes(), "b3"),
    ("which a name takes", [point(3), point(1, backup_class="emergency")], Wishes(backup="b1"), "b1"),
    ("the last before an instant", [point(9), point(3)], Wishes(before=NOW - 4 * HOUR), "b9"),
    ("or at it", [point(9), point(3)], Wishes(before=NOW - 3 * HOUR), "b3"),
    ("last known good before it", [point(9), point(6, ""), point(3)], Wishes(before=NOW - 4 * HOUR), "b9"),
    ("the named one", [point(9), point(3)], Wishes(backup="b9"), "b9"),
    ("the newest listed one", [point(9), point(3)], Wishes(backup="latest"), "b3"),
    ("an unproven one by force", [point(3, ""), point(1, "")], Wishes(force=True), "b1"),
    ("rather an old proven one by force", [point(99), point(1, "")], Wishes(force=True), "b99"),
    ("one of tomorrow", [point(-3)], Wishes(), "b-3"),
]


@pytest.mark.parametrize(("what", "catalog", "wishes", "expected"), CHOICES, ids=[one[0] for one in CHOICES])
def test_the_recovery_point(what: str, catalog: list[RecoveryPoint], wishes: Wishes, expected: str) -> None:
    """Proof comes before age, and what was asked for before both."""
    choice = choose_point(catalog, "quantforge", wishes, POLICY, NOW)
    assert expected == choice.point.backup
    assert choice.why.startswith("It is the ")
    assert choice.why.endswith(" old when this plan was made.")


REFUSED: list[tuple[str, list[RecoveryPoint], Wishes, type[Exception], str]] = [
    ("nothing", [], Wishes(), NoRecoveryPoint, "No backup of quantforge is listed."),
    (
        "nothing before",
        [point(3)],
        Wishes(before=NOW - 4 * HOUR),
        NoRecoveryPoint,
        "No backup of quantforge is listed and was taken at or before 2026-11-23 10:00:00 UTC.",
    ),
    (
        "no such name",
        [point(3)],
        Wishes(backup="b4"),
        NoRecoveryPoint,
        "No backup of quantforge is called b4.",
    ),
    (
        "emergency only",
        [point(1, backup_class="emergency")],
        Wishes(force=True),
        NoRecoveryPoint,
        "No backup of quantforge but emergency ones is listed; they are taken by name only, and b1 is the newest.",
    ),
    (
        "unproven only",
        [point(3, ""), point(1, "")],
        Wishes(),
        OnlyUnverified,
        "Backups that fit: 2, the newest is b1. No verification has proven any of them.",
    ),
    (
        "named and unproven",
        [point(3, ""), point(1)],
        Wishes(backup="b3"),
        OnlyUnverified,
        "Backups that fit: 1,",
    ),
    (
        "too old",
        [point(25)],
        Wishes(),
        RecoveryPointTooOld,
        "b25, is 1 day 1 h old; recovery.min_recovery_point_age is 1 day.",
    ),
    ("named and too old", [point(25), point(1)], Wishes(backup="b25"), RecoveryPointTooOld, "b25, is 1 day"),
]


@pytest.mark.parametrize(
    ("what", "catalog", "wishes", "error", "words"), REFUSED, ids=[one[0] for one in REFUSED]
)
def test_no_recovery_point(
    what: str, catalog: list[RecoveryPoint], wishes: Wishes, error: type[Exception], words: str
) -> None:
    """What does not fit has its own error, and says what there is."""
    with pytest.raises(error) as caught:
        choose_point(catalog, "quantforge", wishes, POLICY, NOW)
    assert words in str(caught.value)


def test_at_the_limit_a_recovery_point_is_not_too_old() -> None:
    """Exactly as old as the limit is not older."""
    assert "b24" == choose_point([point(24)], "quantforge", Wishes(), POLICY, NOW).point.backup


def test_what_force_has_accepted_is_told() -> None:
    """An unproven and an old recovery point are named as such."""
    wishes = Wishes(force=True)
    unproven = choose_point([point(1, "")], "quantforge", wishes, POLICY, NOW)
    old = choose_point([point(48)], "quantforge", wishes, POLICY, NOW)
    assert ["recovery-point-unproven"] == [finding.code for finding in unproven.findings]
    assert ["recovery-point-old"] == [finding.code for finding in old.findings]


def test_newer_backups_that_were_passed_over_are_told() -> None:
    """Somebody may rather verify a newer one than lose what it holds."""
    catalog = [point(5), point(2, ""), point(1, backup_class="emergency")]
    choice = choose_point(catalog, "quantforge", Wishes(), POLICY, NOW)
    assert [("newer-backups-unproven", "b2"), ("newer-emergency-backup", "b1")] == [
        (finding.code, finding.object) for finding in choice.findings
    ]


def _verification(hours_ago: float, **fields: Any) -> VerificationRecord:
    return VerificationRecord(
        **{
            "format": 3,
            "at": NOW - hours_ago * HOUR,
            "backup": "b",
            "level": "structure",
            "passed": True,
            "score": 100,
            "seconds": 1.0,
            "objects_checked": 1,
            "bytes_checked": 1,
            "rows_checked": 1,
            "location": "local",
            **fields,
        }
    )


def test_a_recovery_point_is_proven_when_its_best_proof_was_made() -> None:
    """Of the passed verifications of that level at good locations, the newest counts."""
    described = BackupFacts(
        id="b",
        kind="full",
        backup_class="scheduled",
        source="quantforge",
        taken_at=NOON,
        locations=("local", "edge"),
        proven="content",
        damaged_at=("edge",),
    )
    records = [
        _verification(5, level="content"),
        _verification(4, level="content", location="edge"),
        _verification(3),
    ]
    made = RecoveryPoint.of(described, records)
    assert ("content", NOW - 5 * HOUR) == (made.proven, made.proven_at)
    everywhere = BackupFacts(**{**_fields(described), "damaged_at": ("local", "edge")})
    assert ("", None) == (
        RecoveryPoint.of(everywhere, records).proven,
        RecoveryPoint.of(everywhere, ()).proven_at,
    )


def _fields(described: BackupFacts) -> dict[str, Any]:
    return {name: getattr(described, name) for name in BackupFacts.__dataclass_fields__}


# ------------------------------------------------------------------------------------------- scope


def labels(tables: Sequence[ScopedTable]) -> list[str]:
    """Return the labels of tables in their order."""
    return [one.label for one in tables]


def test_by_itself_all_tables_of_the_user_are_in_scope_parents_first() -> None:
    """The platform's tables are taken by name only."""
    for scenario in ("data_corruption", "partial_loss", "custom"):
        found = choose_scope(scenario, Wishes(), quant_manifest())
        assert ["public.developers", "public.robots", "public.trades"] == labels(found)


def test_a_complete_failure_takes_everything() -> None:
    """The platform's rows too."""
    found = choose_scope("complete_failure", Wishes(), quant_manifest())
    assert ["auth.users", "public.developers", "public.robots", "public.trades", "storage.objects"] == labels(
        found
    )


def test_named_tables_and_schemas_are_in_scope() -> None:
    """A table's own condition counts though its schema was asked for as a whole."""
    wishes = Wishes(
        tables=(ScopedTable(schema="public", name="trades", where="robot_id = 7"),),
        schemas=("public", "auth"),
    )
    found = choose_scope("custom", wishes, quant_manifest())
    assert ["auth.users", "public.developers", "public.robots", "public.trades"] == labels(found)
    assert ["", "", "", "robot_id = 7"] == [one.where for one in found]


def test_cycles_of_foreign_keys_stand_by_their_names() -> None:
    """There is no right order, so there is at least a steady one; a table may refer to itself."""
    tables = (entry("b", "public.a"), entry("a", "public.b", "public.a"), entry("c", "public.b"))
    one = choose_scope("custom", Wishes(), manifest(tables=tables))
    other = choose_scope("custom", Wishes(), manifest(tables=tables[::-1]))
    assert ["public.b", "public.a", "public.c"] == labels(one) == labels(other)


def test_a_long_chain_of_foreign_keys_is_put_in_order() -> None:
    """Longer than Python's stack is deep."""
    tables = tuple(entry(f"t{n:04}", *([f"public.t{n + 1:04}"] if n < 2999 else [])) for n in range(3000))
    found = choose_scope("custom", Wishes(), manifest(tables=tables))
    assert ("public.t2999", "public.t0000") == (found[0].label, found[-1].label)


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        (
            Wishes(tables=(ScopedTable(schema="public", name="trade"),)),
            f"The backup {BACKUP} has no table public.trade (it has public.trades).",
        ),
        (Wishes(schemas=("autho",)), f"The backup {BACKUP} has no schema autho (it has auth)."),
        (Wishes(schemas=("nothing like it",)), f"The backup {BACKUP} has no schema nothing like it."),
    ],
)
def test_what_the_backup_lacks_is_not_in_scope(wishes: Wishes, words: str) -> None:
    """A misspelt name is answered with the nearest one there is."""
    with pytest.raises(NothingInScope) as caught:
        choose_scope("custom", wishes, quant_manifest())
    assert words == str(caught.value)


def test_a_backup_without_user_tables_has_nothing_in_scope() -> None:
    """There is nothing to take by default."""
    with pytest.raises(NothingInScope):
        choose_scope("custom", Wishes(), manifest())


def test_a_table_is_named_once() -> None:
    """Two conditions on one table would leave open which rows are meant."""
    trades = ScopedTable(schema="public", name="trades", where="id = 1")
    with pytest.raises(PlanUnfit, match="named twice"):
        choose_scope("custom", Wishes(tables=(trades, trades)), quant_manifest())


@pytest.mark.parametrize(
    "wishes", [Wishes(tables=(ScopedTable(schema="public", name="trades"),)), Wishes(schemas=("public",))]
)
def test_a_complete_failure_has_no_scope(wishes: Wishes) -> None:
    """An empty database is filled as a whole."""
    with pytest.raises(PlanUnfit, match="recovered in place"):
        choose_scope("complete_failure", wishes, quant_manifest())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("trades", ("public", "trades", "")),
        ("public.trades", ("public", "trades", "")),
        ("public.Trades", ("public", "Trades", "")),
        ("public.trades where a = ' where '", ("public", "trades", "a = ' where '")),
        ("auth.users WHERE\n id = 1", ("auth", "users", "id = 1")),
        ('"My Schema"."a.b ""c"""', ("My Schema", 'a.b "c"', "")),
    ],
)
def test_a_table_is_read_as_it_is_written(text: str, expected: tuple[str, str, str]) -> None:
    """Names are not folded, so that what `strongroom show` prints can be copied."""
    read = read_scoped_table(text)
    assert expected == (read.schema, read.name, read.where)
    assert read == read_scoped_table(write_scoped_table(read))


@pytest.mark.parametrize("text", ["", "a.b.c", "a b", "public.", "trades where ", 'x"y'])
def test_what_is_no_table_is_refused(text: str) -> None:
    """The sentence repeats what was written."""
    with pytest.raises(ValueError, match=r"is not a table such as public\.trades"):
        read_scoped_table(text)


# ------------------------------------------------------------------------------------------- steps


@pytest.mark.parametrize(
    ("scenario", "phases"),
    [
        (
            "data_corruption",
            {"assess": (0, 5), "prepare": (5, 10), "recover": (10, 25), "validate": (25, 30)},
        ),
        ("custom", {"assess": (0, 5), "prepare": (5, 10), "recover": (10, 25), "validate": (25, 30)}),
        (
            "complete_failure",
            {"assess": (0, 2), "prepare": (2, 15), "recover": (15, 25), "validate": (25, 60)},
        ),
        ("partial_loss", {"assess": (0, 5), "recover": (5, 15), "validate": (15, 20)}),
    ],
)
def test_the_budgets_are_those_of_the_runbooks(
    scenario: Scenario, phases: dict[str, tuple[float, float]]
) -> None:
    """Steps of a phase stand together, and fill exactly its minutes."""
    found: dict[str, tuple[float, float]] = {}
    end = 0.0
    for step in plan(scenario).steps:
        begin, end = end, end + step.budget_seconds / 60
        found[step.phase] = (found.get(step.phase, (begin, 0))[0], end)
    assert phases == found


def test_only_the_report_is_not_critical() -> None:
    """Whatever else fails stops the recovery."""
    for scenario in ("data_corruption", "complete_failure", "partial_loss", "custom"):
        steps = plan(scenario).steps
        assert ["report"] == [step.name for step in steps if not step.critical]


def test_steps_that_are_refused_are_left_out() -> None:
    """And what would have been undone by the emergency backup says that nothing undoes it."""
    wishes = Wishes(force=True, emergency_backup=False, skip_verification=True, rollback_on_error=False)
    made = plan(wishes=wishes)
    assert {"check", "restore", "judge-staging", "reconcile", "judge", "validate", "report"} == {
        step.name for step in made.steps
    }
    assert "NO way back" in made.steps[-2].rollback
    assert {"forced", "verification-skipped", "no-emergency-backup", "no-rollback"} <= codes(made)


def test_every_step_says_what_undoes_it() -> None:
    """None leaves it open."""
    for scenario in ("data_corruption", "complete_failure", "partial_loss"):
        assert all(step.rollback and step.title for step in plan(scenario).steps)


def test_a_recovery_in_place_has_a_way_back_unless_forced() -> None:
    """Leaving it out is refused; into an empty database there is nothing to go back to."""
    with pytest.raises(EmergencyBackupNeeded):
        plan(wishes=Wishes(emergency_backup=False))
    empty = plan("complete_failure", wishes=Wishes(emergency_backup=False))
    assert (False, False) == (empty.emergency_backup, empty.rollback_on_error)


STRATEGIES: list[tuple[Scenario, Strategy | None, Strategy | None]] = [
    ("data_corruption", None, "exact"),
    ("data_corruption", "exact", "exact"),
    ("data_corruption", "merge_overwrite", "merge_overwrite"),
    ("data_corruption", "merge_missing", None),
    ("data_corruption", "empty", None),
    ("partial_loss", None, "merge_missing"),
    ("partial_loss", "exact", "exact"),
    ("custom", None, "exact"),
    ("custom", "empty", None),
    ("complete_failure", None, "empty"),
    ("complete_failure", "empty", "empty"),
    ("complete_failure", "exact", None),
]


@pytest.mark.parametrize(("scenario", "wanted", "expected"), STRATEGIES)
def test_strategies(scenario: Scenario, wanted: Strategy | None, expected: Strategy | None) -> None:
    """Each scenario has one of its own, and refuses what makes no sense for it."""
    wishes = Wishes(strategy=wanted)
    if expected is None:
        with pytest.raises(StrategyUnfit):
            plan(scenario, wishes=wishes)
    else:
        assert expected == plan(scenario, wishes=wishes).strategy


# -------------------------------------------------------------------------------------------- risk


def loss(
    live: int, rows: int = 1000, strategy: Strategy = "exact", lag: float = 3600.0, where: str = ""
) -> DataLoss:
    """Assess the loss for one table."""
    tables = [ScopedTable(schema="public", name="t", where=where)]
    estimates = [TableEstimate(table="public.t", rows=rows, rows_live=live)]
    return assess_loss("custom", strategy, tables, estimates, lag, POLICY)


RISKS: list[tuple[str, DataLoss, Risk, float]] = [
    ("as many rows", loss(1000), "low", 0.0),
    ("fewer rows", loss(10), "low", 0.0),
    ("half of the limit", loss(1000, 975), "low", 2.5),
    ("more than half", loss(1000, 974), "medium", 2.6),
    ("the limit", loss(1000, 950), "medium", 5.0),
    ("more", loss(1000, 949), "high", 5.1),
    ("not counted", loss(-1), "medium", 0.0),
    ("a condition", loss(1000, where="id = 1"), "medium", 0.0),
    ("long ago", loss(1000, lag=7 * 3600.0), "medium", 0.0),
    ("a merge that only inserts", loss(2000, strategy="merge_missing", lag=1e9), "low", 0.0),
    ("a merge that overwrites", loss(1000, strategy="merge_overwrite"), "medium", 0.0),
    ("a merge that overwrites much", loss(1000, strategy="merge_overwrite", lag=1e9), "high", 0.0),
]


@pytest.mark.parametrize(("what", "found", "risk", "percent"), RISKS, ids=[one[0] for one in RISKS])
def test_the_risk(what: str, found: DataLoss, risk: Risk, percent: float) -> None:
    """Low is up to half of the limit, medium up to all of it; what is not known is never low."""
    assert risk == found.risk
    assert pytest.approx(percent) == found.percent
    assert found.reason.endswith(".")


def test_a_small_share_of_all_may_be_much_of_one_table() -> None:
    """The table that loses the largest share of its rows decides, unless it has hardly any."""
    tables = [ScopedTable(schema="public", name=name) for name in ("trades", "customers")]
    trades = TableEstimate(table="public.trades", rows=4_000_000, rows_live=4_000_000)
    half = TableEstimate(table="public.customers", rows=500, rows_live=1000)
    few = TableEstimate(table="public.customers", rows=1, rows_live=2)
    found = assess_loss("custom", "exact", tables, [trades, half], 60, POLICY)
    assert ("high", "public.customers loses most: 50 %" in found.reason) == (found.risk, True)
    assert "low" == assess_loss("custom", "exact", tables, [trades, few], 60, POLICY).risk


def test_a_complete_failure_is_never_without_risk() -> None:
    """Nobody can count what a dead source held."""
    assert "medium" == plan("complete_failure").risk
    late = plan_recovery("complete_failure", [own_point()], facts(), POLICY, NOW + 6 * HOUR)
    assert "high" == late.risk


COUNTS = st.lists(st.tuples(st.integers(0, 2000), st.integers(-1, 2000)), min_size=1, max_size=4)


@given(counts=COUNTS, which=st.integers(0, 3), fewer=st.integers(1, 500), lag=st.floats(0, 1e6))
def test_a_recovery_point_with_fewer_rows_is_never_less_risky(
    counts: list[tuple[int, int]], which: int, fewer: int, lag: float
) -> None:
    """Risk and percent grow with what the backup lacks."""
    tables = [ScopedTable(schema="public", name=f"t{n}") for n in range(len(counts))]
    before = [
        TableEstimate(table=one.label, rows=rows, rows_live=live)
        for one, (rows, live) in zip(tables, counts, strict=True)
    ]
    after = list(before)
    number = which % len(after)
    after[number] = msgspec.structs.replace(after[number], rows=max(0, after[number].rows - fewer))
    assert percent_lost(before) <= percent_lost(after) <= 100
    risks = [assess_loss("custom", "exact", tables, one, lag, POLICY).risk for one in (before, after)]
    assert RANK.index(risks[0]) <= RANK.index(risks[1])


@given(counts=COUNTS, limits=st.tuples(st.floats(0, 100), st.floats(0, 100)))
def test_a_stricter_limit_is_never_less_risky(
    counts: list[tuple[int, int]], limits: tuple[float, float]
) -> None:
    """The same counts under a lower limit."""
    tables = [ScopedTable(schema="public", name=f"t{n}") for n in range(len(counts))]
    estimates = [
        TableEstimate(table=one.label, rows=rows, rows_live=live)
        for one, (rows, live) in zip(tables, counts, strict=True)
    ]
    loose, strict = (
        assess_loss(
            "custom", "exact", tables, estimates, 60, RecoveryPolicy(max_data_loss_percent=limit)
        ).risk
        for limit in sorted(limits, reverse=True)
    )
    assert RANK.index(loose) <= RANK.index(strict)


# --------------------------------------------------------------------------------------- estimates


def test_without_anything_measured_the_estimate_says_that_it_is_an_assumption() -> None:
    """In place the downtime is the writers' waiting, into an empty database all of it."""
    in_place = estimate("in-place", 1_000_000, 200_000_000, ())
    empty = estimate("empty", 1_000_000, 800_000_000, ())
    assert (40.0, 2.0) == (in_place.seconds, in_place.downtime_seconds)
    assert (60.0, 60.0) == (empty.seconds, empty.downtime_seconds)
    assert in_place.basis.startswith(
        "Writers wait about 2 s, readers never; the whole takes about 40 s. An assumption"
    )
    assert empty.basis.startswith("The application is down for the whole of it, about 1 min. An assumption")


def test_the_newest_like_recoveries_are_what_is_estimated_from() -> None:
    """The median of the newest five of the same kind, scaled by rows."""
    slow = [Measured(NOW - n * HOUR, "in-place", 100, 1000.0, 100.0) for n in range(50, 60)]
    newest = [Measured(NOW - n * HOUR, "in-place", 100, float(n), n / 10) for n in (1, 2, 3, 4, 50)]
    other = [Measured(NOW, "empty", 100, 9999.0)]
    found = estimate("in-place", 200, 0, [*newest, *slow, *other])
    assert 6.0 == found.seconds
    assert pytest.approx(0.6) == found.downtime_seconds
    assert "Measured: the median of the last 5 of its kind here, scaled to 200 rows." in found.basis


def test_only_what_ended_well_has_measured_anything() -> None:
    """A recovery that failed early would promise too much."""
    made = plan()
    record = RecoveryRecord(
        format=3,
        at=NOW,
        plan=made,
        outcome="recovered",
        by="me",
        tables=(RecoveredTable(table="public.trades", inserts=3),),
        seconds=20.0,
        lock_seconds=0.5,
    )
    assert Measured(NOW, "in-place", 2050, 20.0, 0.5) == Measured.of_recovery(record)
    failed = msgspec.structs.replace(record, outcome="failed")
    assert Measured.of_recovery(failed) is None
    drill = DrillRecord(
        format=3,
        at=NOW,
        drill="d",
        backup=BACKUP,
        source="quantforge",
        by="me",
        passed=True,
        server_version=180000,
        recovery_point=NOON,
        recovery_lag_seconds=1,
        recovery_lag_objective_seconds=1,
        recovery_duration_seconds=7,
        recovery_duration_objective_seconds=1,
        tables=(DrillTable(table="t", rows=100, rows_expected=100, digest="", digest_expected=""),),
    )
    assert Measured(NOW, "empty", 100, 7) == Measured.of_drill(drill)
    assert Measured.of_drill(msgspec.structs.replace(drill, passed=False)) is None


# ----------------------------------------------------------------------------------------- the plan


def test_a_plan_says_what_it_is_made_of() -> None:
    """Recovery point, proof, scope, estimates, lag beside the objective."""
    made = plan(live={"public.trades": 2110})
    assert ("recovery-20261123-140000000-0102030405", "source", "exact") == (
        made.id,
        made.destination,
        made.strategy,
    )
    assert (BACKUP, NOON, "structure", NOON) == (
        made.backup,
        made.recovery_point,
        made.proven,
        made.proven_at,
    )
    assert (7200.0, 21600.0, 1800.0) == (
        made.recovery_lag_seconds,
        made.recovery_lag_objective_seconds,
        made.recovery_duration_objective_seconds,
    )
    assert TableEstimate(table="public.trades", rows=2000, rows_live=2110) == made.estimates[-1]
    assert "high" == made.risk
    assert pytest.approx(5.0926, abs=1e-4) == made.data_loss_percent
    assert made.risk_reason.startswith(
        "At least 110 live rows (5.1 %) written in the 2 h since the recovery point"
    )


def test_a_plan_is_a_document() -> None:
    """What was written is read back as it was."""
    for scenario in ("data_corruption", "complete_failure", "partial_loss", "custom"):
        made = plan(scenario)
        assert made == decode_json(RecoveryPlan, msgspec.json.encode(made), "plan")


def test_every_plan_says_what_it_does_not_restore() -> None:
    """By strategy, and the files of Storage wherever somebody may expect them."""
    exact, merge = plan().not_restored, plan("partial_loss").not_restored
    assert "rows written to these tables after 2026-11-23 12:00:00 UTC" in exact[0]
    assert any("a merge deletes nothing" in words for words in merge)
    assert any("the 2 other tables" in words for words in exact)
    whole = plan("complete_failure").not_restored
    storage = plan("custom", wishes=Wishes(schemas=("storage",))).not_restored
    assert all(any("files in Storage" in words for words in said) for said in (whole, storage))


def test_tables_that_are_referred_to_and_left_out_are_named() -> None:
    """A row cannot come back without the one that it refers to."""
    trades = ScopedTable(schema="public", name="trades")
    made = plan("partial_loss", wishes=Wishes(tables=(trades,)))
    assert ["public.robots"] == [one.object for one in made.findings if one.code == "reference-out-of-scope"]


@pytest.mark.parametrize(
    ("scenario", "fields", "code"),
    [
        ("complete_failure", {}, "budget-over-limit"),
        ("data_corruption", {}, "damage-may-be-older"),
        ("data_corruption", {"live_unknown": "It is away.", "live": {}}, "live-not-counted"),
        (
            "custom",
            {"history": (Measured(NOW, "in-place", 1, 9.0),)},
            "estimate-over-limit",
        ),
    ],
)
def test_what_somebody_should_know_is_a_finding(
    scenario: Scenario, fields: dict[str, Any], code: str
) -> None:
    """Limits that will not do, live that was not counted, damage that may be older than the backup."""
    assert code in codes(plan(scenario, **fields))


def test_estimated_counts_are_called_so() -> None:
    """Statistics are no counts."""
    given_counts = facts()
    known = PlanFacts(
        **{
            **{name: getattr(given_counts, name) for name in PlanFacts.__dataclass_fields__},
            "live": {**given_counts.live, "public.trades": LiveCount(5, is_exact=False)},
        }
    )
    made = plan_recovery("custom", [own_point()], known, POLICY, NOW)
    assert ["public.trades"] == [one.object for one in made.findings if one.code == "live-estimated"]


def test_no_limit_is_no_reason_for_a_finding() -> None:
    """A limit of zero means that there is none."""
    policy = RecoveryPolicy(max_recovery_time=dt.timedelta())
    made = plan_recovery("complete_failure", [own_point()], facts(), policy, NOW)
    assert not codes(made) & {"budget-over-limit", "estimate-over-limit"}


def test_the_manifest_must_be_that_of_the_recovery_point() -> None:
    """A plan from two backups would be about neither."""
    with pytest.raises(ValueError, match="the manifest is that of"):
        plan_recovery("custom", [point(1)], facts(), POLICY, NOW)


@given(
    scenario=st.sampled_from(["data_corruption", "complete_failure", "partial_loss", "custom"]),
    force=st.booleans(),
    order=st.permutations(range(5)),
    live=st.dictionaries(st.sampled_from(["public.trades", "public.robots"]), st.integers(0, 9999)),
)
def test_the_same_arguments_give_the_same_plan(
    scenario: Scenario, force: bool, order: list[int], live: dict[str, int]
) -> None:
    """Whatever the order in which the catalog and the manifest list things."""
    held = quant_manifest()
    turned = msgspec.structs.replace(held, tables=tuple(held.tables[n] for n in order))
    catalog = [own_point(), point(5), point(1, "")]
    wishes = Wishes(force=force)
    one = plan_recovery(scenario, catalog, facts(wishes, live, manifest=held), POLICY, NOW)
    other = plan_recovery(scenario, catalog[::-1], facts(wishes, live, manifest=turned), POLICY, NOW)
    assert msgspec.json.encode(one) == msgspec.json.encode(other)


# ---------------------------------------------------------------------------------------- rolling back


def _emergency() -> Manifest:
    return quant_manifest(
        backup="20261123-140100000-aaaaaaaaaa",
        snapshot=msgspec.structs.replace(SNAPSHOT, taken_at=NOW),
        finished_at=NOW + HOUR,
    )


def test_a_rollback_is_the_same_whenever_it_is_planned() -> None:
    """One that was cut off is continued by planning it again; it takes tables whole, whatever the condition was."""
    where = ScopedTable(schema="public", name="trades", where="robot_id = 7")
    undone = plan("partial_loss", wishes=Wishes(tables=(where,)))
    made = plan_rollback(undone, _emergency(), POLICY)
    assert made == plan_rollback(undone, _emergency(), POLICY)
    assert (f"{undone.id}.rollback", undone.id, "custom", "exact") == (
        made.id,
        made.undoes,
        made.scenario,
        made.strategy,
    )
    whole = (ScopedTable(schema="public", name="trades"),)
    assert (whole, NOW, False) == (made.tables, made.recovery_point, made.emergency_backup)
    assert 600.0 == sum(step.budget_seconds for step in made.steps)


def test_what_was_not_in_place_is_not_rolled_back() -> None:
    """Nor is a rollback."""
    undone = plan()
    for other in (plan("complete_failure"), plan_rollback(undone, _emergency(), POLICY)):
        with pytest.raises(PlanUnfit):
            plan_rollback(other, _emergency(), POLICY)


# --------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.46, "0.5 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (11520, "3 h 12 min"),
        (86400, "1 day"),
        (190000, "2 days 4 h"),
    ],
)
def test_lengths_of_time(seconds: float, words: str) -> None:
    """Two units at most, and no empty one."""
    assert words == span(seconds) == span(dt.timedelta(seconds=seconds))


def test_counts_and_lists() -> None:
    """One is one, and long lists are cut."""
    assert ("1 row", "12 000 rows") == (counted(1, "row"), counted(12_000, "row"))
    assert ("a", "a, b and 1 more") == (listed(["a"]), listed(["a", "b", "c"], most=2))
