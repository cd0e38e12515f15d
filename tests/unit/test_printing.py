"""Facts about what reports look like on a terminal."""

import datetime as dt
import io

import msgspec
import pytest
from rich.console import Console

from deployments.first_configuration import location_url
from deployments.printing import console_on, instant, number, plain, print_findings, print_list, print_show
from deployments.watching import Watcher, sentence
from strongroom.errors import CommandMisused, Unforeseen, UnknownBackup
from strongroom.format.documents import CaptureTotals, Finding, SnapshotFacts
from strongroom.operations.context import Progress
from strongroom.operations.messages import (
    BackupBrief,
    ListReport,
    PlanReport,
    RestoreStepReport,
    ShowReport,
    TableBrief,
    UnitBrief,
    UnitReport,
)
from strongroom.terminal import Answer, as_strongroom_error, check_backup_name

TAKEN = dt.datetime(2026, 11, 23, 4, 5, 6, tzinfo=dt.UTC)
BRIEF = BackupBrief(
    id="20261123-040506789-0123456789",
    kind="incremental",
    backup_class="scheduled",
    source="quantforge",
    snapshot_at=TAKEN,
    bytes_stored=1536,
    tables=2,
    rows=1234567,
    parent="20261122-040506789-9876543210",
    reason="the last backup is less than a day old",
)
DAMAGE = Finding(severity="critical", code="SR-0509", object="manifests/x", observed="forged", advice="Look.")


def printed(width: int = 220) -> tuple[Console, io.StringIO]:
    """Return a console and what it writes to."""
    stream = io.StringIO()
    console = console_on(stream)
    console.width = width
    return console, stream


def test_a_pipe_gets_no_escapes_and_whole_lines() -> None:
    """Where nobody looks, nothing is coloured or cut."""
    console, stream = printed()
    print_list(console, ListReport(location="/backups", backups=(BRIEF,), findings=(DAMAGE,)))
    line = next(line for line in stream.getvalue().splitlines() if BRIEF.id in line)
    assert [BRIEF.id, "incremental", "scheduled", "quantforge", "2026-11-23"] == line.split()[:5]
    assert line.rstrip().endswith(BRIEF.reason)
    assert "\x1b" not in stream.getvalue()


def test_a_narrow_terminal_still_shows_whole_ids() -> None:
    """An id is what people copy, so it is never cut or folded; each backup gets a second line instead."""
    console, stream = printed(width=80)
    print_list(console, ListReport(location="/backups", backups=(BRIEF, BRIEF)))
    lines = stream.getvalue().splitlines()
    assert [BRIEF.id, "scheduled"] * 2 == [line.split()[0] for line in lines]
    assert f"parent {BRIEF.parent}: {BRIEF.reason}" in lines[1]


def test_a_bad_manifest_is_loud() -> None:
    """The finding follows the list, with its code, object and advice."""
    console, stream = printed()
    print_list(console, ListReport(location="/backups", backups=(), findings=(DAMAGE,)))
    assert "critical SR-0509 manifests/x: forged. Look." in stream.getvalue()


def test_show_names_what_is_not_known() -> None:
    """A table whose unit documents cannot be read says so, instead of a number."""
    console, stream = printed()
    table = TableBrief(
        table="public.[red]odd\nname", rows=3, rows_reused=None, digest="42", managed=False, scratch_reason=""
    )
    print_show(console, _shown(table))
    assert "unknown" in stream.getvalue()
    assert "public.[red]odd\\nname" in stream.getvalue()


def _shown(table: TableBrief) -> ShowReport:
    snapshot = SnapshotFacts(
        system_identifier="7",
        timeline=1,
        database_oid=5,
        database="postgres",
        server_version=180004,
        xmin=3,
        xmax=4,
        wal_lsn="0/1",
        taken_at=TAKEN,
    )
    return ShowReport(
        brief=BRIEF,
        base=BRIEF.parent,
        started_at=TAKEN,
        finished_at=TAKEN,
        snapshot=snapshot,
        totals=CaptureTotals(),
        tables=(table,),
        sequences=0,
        collections=("schema",),
        objects=3,
        bytes_reached=10,
        data_keys=(),
    )


def test_findings_come_worst_first() -> None:
    """What matters most is read first."""
    console, stream = printed()
    print_findings(
        console,
        [
            Finding(severity="info", code="a", object="x"),
            Finding(severity="error", code="b", object="x"),
            Finding(severity="critical", code="c", object="x"),
        ],
    )
    assert ["critical", "error", "info"] == [line.split()[0] for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("text", "shown"),
    [("public.robots", "public.robots"), ("a\x1b[2Jb", "a\\x1b[2Jb"), ("ü日", "ü日"), ("a\nb", "a\\nb")],
)
def test_names_cannot_steer_the_terminal(text: str, shown: str) -> None:
    """Control characters of a name are shown, not obeyed."""
    assert shown == plain(text)


def test_instants_and_counts_are_plain() -> None:
    """Instants are in UTC and say so; thousands are apart."""
    elsewhere = TAKEN.astimezone(dt.timezone(dt.timedelta(hours=9)))
    assert ("2026-11-23 04:05:06 UTC", "1 234 567") == (instant(elsewhere), number(1234567))


def test_a_watcher_says_each_step_and_keeps_the_reports(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal each step is a line; progress within a step is none."""
    unit = UnitReport(backup="b", unit=1, document=None, totals=CaptureTotals(rows=1000, bytes_moved=2048))
    plan = PlanReport(
        backup="b",
        kind="full",
        reason="asked for",
        snapshot="s",
        units=(UnitBrief(number=1, label="t", estimated_bytes=5),),
        tables=1,
        estimated_bytes=5,
    )
    with Watcher("backup") as watcher:
        watcher(plan)
        watcher(Progress(done=1, total=2, unit="bytes", label="public.t"))
        watcher(unit)
    out, err = capsys.readouterr()
    assert "" == out
    assert [
        "backup",
        "full backup b (asked for): 1 table, 1 unit",
        "captured unit 1: 1 000 rows, 2.0 KiB moved",
    ] == [line.strip().removesuffix(", 0 B stored") for line in err.splitlines()]
    assert unit is watcher.last(UnitReport)


def test_a_step_without_rows_mentions_none() -> None:
    """A step that writes definitions is not said to have restored zero rows."""
    assert "restored definitions in 0.4 s" == sentence(RestoreStepReport(step="definitions", seconds=0.4))


# ---------------------------------------------------------------------------------------- the border


def test_an_answer_in_words_writes_no_document() -> None:
    """Only --json makes a document."""
    stream = io.StringIO()
    Answer(stream, as_json=False).give({"a": 1})
    assert "" == stream.getvalue()


def test_a_failure_carries_its_report(capsys: pytest.CaptureFixture[str]) -> None:
    """The document of a failed command is the report with the error beside it: one document."""
    stream = io.StringIO()
    answer = Answer(stream, as_json=True)
    answer.fail(UnknownBackup(backup="x"), ListReport(location="/backups", backups=(BRIEF,)))
    document = msgspec.json.decode(stream.getvalue())
    assert (1, "SR-0101", "/backups") == (answer.status, document["error"]["code"], document["location"])
    assert capsys.readouterr().err.startswith("SR-0101 There is no backup 'x'")


def test_misuse_has_a_status_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """2 means that the words could not be parsed, and nothing else does."""
    answer = Answer(io.StringIO(), as_json=True)
    answer.fail(CommandMisused(problem="No.", command="strongroom"))
    assert 2 == answer.status


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnknownBackup(backup="x"), "SR-0101"),
        (KeyboardInterrupt(), "SR-1180"),
        (ValueError("hunter2"), "SR-1206"),
    ],
    ids=lambda value: str(type(value).__name__),
)
def test_whatever_ends_a_command_has_a_code(error: BaseException, code: str) -> None:
    """The text of an error that nobody foresaw is not shown: it may hold anything."""
    coded = as_strongroom_error(error)
    assert code == coded.code
    assert "hunter2" not in coded.render() + coded.advice()


def test_unforeseen_errors_say_their_place() -> None:
    """The kind and the line are enough to find it."""
    with pytest.raises(ValueError, match="secret") as raised:
        int("secret")
    coded = as_strongroom_error(raised.value)
    assert isinstance(coded, Unforeseen)
    assert "ValueError at test_printing.py:" in coded.render()


@pytest.mark.parametrize("name", ["latest", BRIEF.id])
def test_names_of_backups_pass(name: str) -> None:
    """Ids have one form, and latest stands for the newest."""
    assert name == check_backup_name(name)


@pytest.mark.parametrize("name", ["", "../x", "Latest", BRIEF.id + "/"])
def test_what_cannot_name_a_backup_is_unknown(name: str) -> None:
    """It is refused before anything is read by that name."""
    with pytest.raises(UnknownBackup):
        check_backup_name(name)


def test_locations_may_be_folders() -> None:
    """A folder becomes a URL; a URL stays."""
    assert ("file:///var/backups%20old", "s3://bucket/x") == (
        location_url("/var/backups old"),
        location_url("s3://bucket/x"),
    )
