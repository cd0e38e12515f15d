"""List the drills whose evidence is in the repository: what can be believed, and a finding for what cannot."""

from strongroom.config import Settings
from strongroom.drill.evidence import undetected
from strongroom.errors import FormatError, KeyringError, ObjectMissing
from strongroom.findings import finding_of
from strongroom.format.records import DrillRecord
from strongroom.operations.context import Context
from strongroom.operations.drill_messages import DrillBrief, DrillsReport, ListDrills
from strongroom.repository.opening import open_repository


def list_drills(settings: Settings, request: ListDrills, context: Context) -> DrillsReport:  # noqa: ARG001  (asks for all)
    """Return the drills, the newest last; of a drill whose evidence was stored twice, the last.

    Raises what listing raises.
    """
    repository = open_repository(settings, deadline=context.deadline)
    drills: dict[str, DrillBrief] = {}
    findings = []
    for name in repository.record_names(DrillRecord.FOLDER):
        context.deadline.check()
        try:
            record = repository.read_record(DrillRecord, name)
        except ObjectMissing:
            continue  # It expired between listing and reading.
        except (FormatError, KeyringError) as error:
            findings.append(finding_of(error, name))
        else:
            drills[record.drill] = _brief(record)
    ordered = sorted(drills.values(), key=lambda brief: (brief.at, brief.drill))
    return DrillsReport(drills=tuple(ordered), findings=tuple(findings))


def _brief(record: DrillRecord) -> DrillBrief:
    return DrillBrief(
        drill=record.drill,
        at=record.at,
        backup=record.backup,
        source=record.source,
        by=record.by,
        passed=record.passed,
        recovery_lag_seconds=record.recovery_lag_seconds,
        recovery_duration_seconds=record.recovery_duration_seconds,
        suites=record.suites,
        suites_passed=record.suites_passed,
        damages=len(record.damages),
        damages_noticed=len(record.damages) - len(undetected(record)),
    )
