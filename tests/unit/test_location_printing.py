"""Facts about what reports on locations and keys look like on a terminal."""

import datetime as dt
import io

from deployments.location_printing import (
    print_copies,
    print_hold,
    print_keys,
    print_repair,
    print_retention,
    print_rotation,
)
from deployments.printing import console_on, print_findings, print_init
from deployments.watching import sentence
from strongroom.format.documents import Finding
from strongroom.operations.key_messages import KeysReport, RecoveryKeyBrief, RotationReport
from strongroom.operations.location_messages import (
    CollectionReport,
    CopiesReport,
    ExpiringBackup,
    HoldReport,
    KeptBackup,
    LockedObjects,
    Mend,
    RepairedReport,
    RepairPlanReport,
    RepairReport,
    ReplicationReport,
    RetentionPlanReport,
    RetentionReport,
)
from strongroom.operations.messages import InitReport

NOW = dt.datetime(2026, 11, 23, 4, 5, 6, tzinfo=dt.UTC)
AWAY = Finding(
    severity="error",
    code="SR-0614",
    object="location edge",
    observed="There is no folder.",
    advice="Mount it.",
)
MEND = Mend(
    location="edge", name="packs/ab/abc", size=2048, sha256="00" * 32, problem="damaged", source="local"
)


def written(show: object, *reports: object) -> str:
    """Return what is printed for a report, without the spaces that only make columns."""
    stream = io.StringIO()
    show(console_on(stream), *reports)  # type: ignore[operator]
    return "\n".join(" ".join(line.split()) for line in stream.getvalue().splitlines())


def test_a_finding_is_two_sentences() -> None:
    """What was observed ends with one full stop, whether it came with one or not, before the advice."""
    bare = Finding(severity="info", code="x", object="role r", observed="has no password", advice="Set one.")
    assert "info x role r: has no password. Set one." == written(print_findings, [bare])
    assert "error SR-0614 location edge: There is no folder. Mount it." == written(print_findings, [AWAY])


def test_init_tells_new_locations_from_known_ones() -> None:
    """A first init says what it made; one that adds a location says so, and asks to take away nothing."""
    made = InitReport(
        repository="r1",
        location="/a",
        keys="/keys",
        keys_made=True,
        take_away="/keys/recovery.pem",
        stay=("operator.key",),
        locations=("local", "edge"),
        joined=("local", "edge"),
    )
    text = written(print_init, made)
    assert "Made repository r1 at /a.\nMade it at edge too" in text
    assert "Take away to a safe place: /keys/recovery.pem" in text
    joined = InitReport(
        repository="r1",
        location="/a",
        keys="/keys",
        keys_made=False,
        take_away="",
        stay=("operator.key",),
        locations=("local", "edge"),
        joined=("edge",),
    )
    text = written(print_init, joined)
    assert "Repository r1 was at local already.\nIt is at edge now, too" in text
    assert "Take away" not in text


def test_copies_name_each_location_and_what_kept_one_away() -> None:
    """There is a line for each location that was copied to, and a finding for each that was not."""
    place = ReplicationReport(
        location="archive",
        backups=("b2",),
        listed=12,
        newest="b2",
        objects_copied=3,
        objects_there=4,
        bytes_copied=3072,
        bytes_read=0,
        seconds=1.25,
    )
    text = written(print_copies, CopiesReport(places=(place,), findings=(AWAY,)))
    assert "archive 1 12 3 4 3.0 KiB 1.2 s" in text
    assert "error SR-0614 location edge" in text
    assert "backups at archive: 12, of which new: 1" == sentence(place)


def test_repair_says_what_became_of_each_object() -> None:
    """Repaired, not yet in a dry run, or NO."""
    plan = RepairPlanReport(mends=(MEND,), objects_looked_at=1234, bytes=2048)
    done = RepairReport(repaired=(MEND,), bytes_copied=2048)
    nothing = RepairReport(repaired=(), bytes_copied=0)
    line = "edge packs/ab/abc damaged local"
    assert f"{line} yes" in written(print_repair, RepairedReport(plan=plan, done=done))
    assert f"{line} NO" in written(print_repair, RepairedReport(plan=plan, done=nothing))
    dry = written(print_repair, RepairedReport(plan=plan, done=nothing, dry_run=True))
    assert f"{line} not yet" in dry
    assert "1 234 objects looked at, 1 missing or damaged, 2.0 KiB would be copied." in dry


def retention(*, dry_run: bool) -> RetentionReport:
    """Return a report in which something stays, expires, waits and is locked."""
    plan = RetentionPlanReport(
        planned_at=NOW,
        keeps=(KeptBackup(backup="b3", location="local", reasons=("newest: it is the newest",)),),
        expiries=(
            ExpiringBackup(
                backup="b1", location="local", kind="full", reason="no rule keeps it", bytes_freed=1024
            ),
        ),
        locked=(
            ExpiringBackup(
                backup="b2", location="s3", kind="full", reason="old", bytes_freed=0, locked_until=NOW
            ),
        ),
        held_by=(AWAY,),
    )
    if dry_run:
        return RetentionReport(plan=plan, dry_run=True)
    place = CollectionReport(
        location="s3",
        deleted=4,
        bytes_freed=2048,
        keys_shredded=0,
        waiting=7,
        bytes_waiting=1,
        locked=(LockedObjects(until=NOW, objects=3),),
    )
    keys = CollectionReport(
        location="every location", deleted=2, bytes_freed=0, keys_shredded=2, waiting=0, bytes_waiting=0
    )
    return RetentionReport(plan=plan, collected=(place,), shredded=keys)


def test_a_plan_says_of_each_backup_what_becomes_of_it_and_why() -> None:
    """What expires stands first, then what a lock keeps, then what stays; a dry run says that it is one."""
    text = written(print_retention, retention(dry_run=True))
    assert "b1 local expires no rule keeps it 1.0 KiB" in text
    assert "b2 s3 locked until 2026-11-23 04:05:06 UTC old" in text
    assert "b3 local stays newest: it is the newest" in text
    assert "A dry run: nothing was changed." in text
    assert "error SR-0614" in text


def test_retention_counts_what_was_freed_and_what_was_not() -> None:
    """Deleted, waiting and locked objects are counted for each location, and shredded keys for all."""
    text = written(print_retention, retention(dry_run=False))
    assert "s3: 4 objects deleted, 2.0 KiB freed, 7 wait for the end of the grace period." in text
    assert "s3: 3 are locked until 2026-11-23 04:05:06 UTC." in text
    assert "2 data keys were shredded at every location." in text


def test_a_hold_names_its_end_and_its_places() -> None:
    """A hold lasts until an instant or until it is released; a release says that it is none any more."""
    hold = HoldReport(backup="b1", held=True, until=NOW, reason="", locations=("local", "edge"))
    assert (
        "b1 is held until 2026-11-23 04:05:06 UTC; written down at local, edge."
        == written(print_hold, hold).strip()
    )
    forever = HoldReport(backup="b1", held=True, until=None, reason="", locations=("local",))
    assert "b1 is held until it is released" in written(print_hold, forever)
    released = HoldReport(backup="b1", held=False, until=None, reason="", locations=("local",))
    assert "b1 is not held any more" in written(print_hold, released)


def test_keys_say_which_halves_are_here() -> None:
    """A recovery key whose private half is away is shown as such, and so is what could not be opened here."""
    report = KeysReport(
        location="/a",
        operator_key="op",
        signing_key="si",
        number=1,
        recovery_keys=(
            RecoveryKeyBrief(
                id="k1", status="current", public_files=("recovery.pub",), private_files=(), data_keys=3
            ),
        ),
        data_keys=3,
        openable=0,
        locked=("d1",),
        superseded=0,
    )
    text = written(print_keys, report)
    assert "k1 current recovery.pub not here 3" in text
    assert "data keys 3, of which 0 open with a key file here" in text


def test_a_rotation_says_what_was_proven() -> None:
    """It names the keys that everything was opened with afterwards, or that there was none to open it with."""
    report = RotationReport(
        recovery_keys=("k2",),
        retired=("k1",),
        number=2,
        data_keys=5,
        resealed=5,
        proven=("k2",),
        forms_deleted=5,
        locations=("local",),
        seconds=0.5,
        passed=True,
    )
    text = written(print_rotation, report)
    assert "data keys 5 of 5 sealed anew\nall opened with k2" in text
