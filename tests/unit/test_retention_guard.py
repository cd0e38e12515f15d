"""The damage guard: what the golden cases do not show."""

import datetime as dt
from typing import Any, cast

import numpy as np
import pytest

from strongroom.retention.facts import BackupFacts
from strongroom.retention.guard import GuardLimits, guard_findings
from tests.documents import NOON

HOUR = dt.timedelta(hours=1)
MIB = 1024**2


def backup(hours_ago: float, rows: dict[str, int] | None = None, **more: object) -> BackupFacts:
    """Return an incremental with these rows that brought something new."""
    tables = rows or {}
    given: dict[str, object] = {"rows_read": 1, "rows": sum(tables.values())} | more
    return BackupFacts(
        id=f"b{1000 - hours_ago:06.1f}",
        kind=cast("Any", given.pop("kind", "incremental")),
        backup_class="scheduled",
        source="main",
        taken_at=NOON - hours_ago * HOUR,
        locations=("disk",),
        tables=tuple(tables),
        table_rows=np.array(list(tables.values()), np.int64),
        **given,  # type: ignore[arg-type]
    )


def codes(*backups: BackupFacts, accepted: str = "", **limits: object) -> list[str]:
    """Return the codes of what the guard finds."""
    chosen = GuardLimits(**limits)  # type: ignore[arg-type]
    return [finding.code for finding in guard_findings(backups, chosen, NOON, accepted)]


def test_nothing_is_found_in_nothing() -> None:
    """A source without backups, or with one, has nothing to be compared."""
    assert [] == codes()
    assert [] == codes(backup(1, {"trades": 5000}))


def test_the_most_rows_are_found_across_lists_of_tables() -> None:
    """A table that came, went and came again is compared with the most that it ever had."""
    assert ["table-collapsed"] == codes(
        backup(4, {"other": 90000, "trades": 2000}),
        backup(3, {"other": 90000}),
        backup(2, {"other": 90000, "trades": 10}),
        backup(1, {"trades": 10, "other": 90000}),
    )


def test_a_finding_says_what_is_to_be_done() -> None:
    """Object, expected, observed and an advice that names the backup to accept."""
    (finding,) = guard_findings(
        [backup(2, {"trades": 500, "rest": 9000}), backup(1, {"trades": 0, "rest": 9000})],
        GuardLimits(),
        NOON,
    )
    assert ("critical", "trades", "500 rows", "0 rows, in backup b0999.0") == (
        finding.severity,
        finding.object,
        finding.expected,
        finding.observed,
    )
    assert "accept backup b0999.0" in finding.advice


@pytest.mark.parametrize(("factor", "found"), [(1.99, []), (2.0, ["compression-jumped"])])
@pytest.mark.parametrize("way", [1, -1])
def test_a_ratio_jumps_either_way(way: int, factor: float, found: list[str]) -> None:
    """From exactly the limit on, up as down."""
    size = 1000 * MIB
    later = 10 / factor**way
    assert found == codes(
        backup(2, bytes_raw=10 * size, bytes_stored=size),
        backup(1, bytes_raw=int(later * size), bytes_stored=size),
    )


def test_a_ratio_may_drift() -> None:
    """Each backup is compared with the twenty before it: what changes over months is growth, not damage."""
    ratios = [2 * 1.02**step for step in range(100)]
    backups = [
        backup(100 - place, bytes_raw=int(ratio * 10 * MIB), bytes_stored=10 * MIB)
        for place, ratio in enumerate(ratios)
    ]
    assert [] == codes(*backups, quiet=dt.timedelta(0))


def test_an_accepted_jump_is_the_new_normal() -> None:
    """From the accepted backup on the comparison begins anew."""
    backups = (
        backup(3, bytes_raw=60 * MIB, bytes_stored=10 * MIB),
        backup(2, bytes_raw=60 * MIB, bytes_stored=50 * MIB),
        backup(1, bytes_raw=60 * MIB, bytes_stored=48 * MIB),
    )
    assert ["compression-jumped"] == codes(*backups)
    assert [] == codes(*backups, accepted=backups[1].id)


def test_a_backup_that_stored_nothing_is_no_division_by_zero() -> None:
    """Bytes that went nowhere are the strangest ratio of all."""
    assert ["compression-jumped"] == codes(
        backup(2, bytes_raw=60 * MIB, bytes_stored=10 * MIB), backup(1, bytes_raw=60 * MIB, bytes_stored=0)
    )


def test_half_of_all_rows_is_a_collapse() -> None:
    """A hundred tables that each lose too little to count still lose together."""
    full = {f"t{number}": 900 for number in range(10)}
    assert [] == codes(backup(2, full), backup(1, full | {f"t{n}": 1 for n in range(5)}))
    assert ["rows-collapsed"] == codes(backup(2, full), backup(1, dict.fromkeys(full, 450)))


def test_rows_that_move_between_tables_are_news() -> None:
    """Deleted here and added there in one backup from scratch: the sum is the same, the tables are not."""
    moved = backup(50, {"a": 10, "b": 20}, rows_read=0)
    assert [] == codes(backup(100, {"a": 20, "b": 10}), moved, backup(1, {"a": 10, "b": 20}, rows_read=0))


def test_silence_ends_with_the_first_news() -> None:
    """Exactly three days are not more than three days; zero switches the check off."""
    quiet = [backup(hours, rows_read=0) for hours in (48, 24, 1)]
    assert [] == codes(backup(72), *quiet)
    assert ["nothing-new"] == codes(backup(72.1), *quiet)
    assert [] == codes(backup(72.1), *quiet, quiet=dt.timedelta(0))
    assert [] == codes(backup(72.1), *quiet, backup(0.5))


def test_accepting_a_quiet_source_gives_it_another_three_days() -> None:
    """The accepted backup counts as news."""
    backups = (backup(100), backup(24, rows_read=0), backup(1, rows_read=0))
    assert ["nothing-new"] == codes(*backups)
    assert [] == codes(*backups, accepted=backups[1].id)
