"""The flow of a recovery, with operations that stand for the engine's."""

import asyncio
import time

import pytest

from flows.empty_destination import docs_folder
from flows.recovery import recover, restored
from strongroom.errors import DeadlineExceeded, IntegrityFailed, UnknownBackup, VerificationFailed
from strongroom.operations.messages import RecoveryReport
from tests.flows.conftest import FakeSource, write_configuration
from tests.flows.fake_backup import BACKUP
from tests.flows.test_backup_flow import artifacts


def run(source: FakeSource, configuration: str = "") -> RecoveryReport:
    """Recover the newest backup; the destination is never connected to."""
    return restored(asyncio.run(recover(configuration or source.configuration, data_docs="")))


def test_a_recovery_is_told_in_order(source: FakeSource) -> None:
    """Plan, verify, make tables, copy rows, make the rest, judge: in this order; the report adds it up."""
    report = run(source)
    assert source.calls() == [
        "begin_restore",
        "verify_backup",
        "restore_before_rows",
        "restore_unit",
        "restore_unit",
        "restore_unit",
        "restore_after_rows",
        "judge_restore",
    ]
    assert (report.backup, report.passed, report.tables, report.rows) == (BACKUP, True, 3, 60)
    assert report.recovery_lag_seconds > 0
    assert [step.step for step in report.steps] == ["before rows", "unit 3", "unit 2", "unit 1", "after rows"]


def test_nothing_is_written_from_a_backup_that_is_not_proven(source: FakeSource) -> None:
    """If a stored object is missing, the recovery ends before it touches the destination."""
    source.script(verify_backup="unproven")
    with pytest.raises(VerificationFailed):
        run(source)
    assert source.calls() == ["begin_restore", "verify_backup"]


def test_a_failed_suite_fails_the_recovery_after_its_report(source: FakeSource) -> None:
    """A critical expectation that fails makes the flow fail; its report is published first."""
    source.script(judge_restore="unequal")
    with pytest.raises(IntegrityFailed, match="1 of 10 expectations"):
        run(source)
    summary = str(artifacts("recovery-quantforge")[0].data)
    assert "59 of 60" in summary
    assert "public.t1" in summary


def test_a_lasting_error_ends_the_siblings(source: FakeSource) -> None:
    """An error of one unit ends the others, and nothing more is made."""
    source.script(restore_unit="lasting")
    with pytest.raises(UnknownBackup):
        run(source)
    assert "restore_after_rows" not in source.calls()
    assert source.left() == []


def test_the_limit_of_a_recovery_ends_it(source: FakeSource) -> None:
    """When max_recovery_time is over, the work ends with the coded error within seconds."""
    source.script(begin_restore="last")
    configuration = write_configuration(source.folder.parent, source.folder, recovery_max_recovery_time="3 s")
    begun = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"recovery.max_recovery_time"):
        run(source, str(configuration))
    assert time.monotonic() - begun < 12
    assert source.left() == []


def test_the_limit_of_the_verification_is_its_own(source: FakeSource) -> None:
    """The verification within a recovery has recovery.verification_timeout, however long the whole may take."""
    source.script(verify_backup="last")
    configuration = write_configuration(
        source.folder.parent, source.folder, recovery_verification_timeout="1 s"
    )
    with pytest.raises(DeadlineExceeded, match=r"within 1 s \(recovery.verification_timeout\)"):
        run(source, str(configuration))


def test_data_docs_of_two_recoveries_do_not_mix() -> None:
    """Every recovery has a folder of its own below the one that was given, or none."""
    assert docs_folder("", "b1") == ""
    assert docs_folder("/docs", "b1").startswith("/docs/b1-")
