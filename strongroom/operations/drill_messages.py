"""What the operations of drills are asked and what they answer: ids, counts, digests and findings, as everywhere."""

import datetime as dt

from strongroom.format.documents import Finding
from strongroom.format.records import DamageOutcome, DrillRecord, DrillTable
from strongroom.operations.messages import Message

# --------------------------------------------------------------------------- the drilled database


class HoldDrillServer(Message):
    """Run a throw-away server that the backup can be restored into, and stop it when released."""

    backup: str


class DrillServerReport(Message):
    """A server that runs for the drill: where its socket is, and its empty project. Every role is trusted there."""

    socket_directory: str
    port: int
    database: str
    user: str
    server_version: int
    findings: tuple[Finding, ...] = ()


class MeasureDrill(Message):
    """Count and digest every table of the drilled database, to be compared with the backup's baseline."""

    backup: str


class DrillMeasures(Message):
    """Every table of the backup as it is in the drilled database; -1 rows where it could not be measured."""

    server_version: int
    tables: tuple[DrillTable, ...]
    seconds: float = 0.0
    findings: tuple[Finding, ...] = ()


# -------------------------------------------------------------------------------- damage to copies


class HoldDamageCopy(Message):
    """Copy everything that one backup reaches to a temporary folder of this machine, and hold it until released."""

    backup: str


class DamageCopyReport(Message):
    """A copy that may be damaged: its folder, and what was copied.

    `older` is the backup whose manifest takes the place of this one's; `is_made_up` tells that the repository has no
    other, so that one was made and signed for the drill, in the copy only.
    """

    folder: str
    objects: int
    bytes_copied: int
    older: str
    is_made_up: bool = False
    seconds: float = 0.0


class TryDamage(Message):
    """Damage the copy in the way of this name, an empty one for not at all, and verify what is left."""

    backup: str
    folder: str
    older: str
    damage: str = ""


class DamageReport(Message):
    """What became of one damage; `noticed_by` is empty if nothing noticed, or the wrong thing."""

    outcome: DamageOutcome
    level: str
    seconds: float = 0.0
    findings: tuple[Finding, ...] = ()

    @property
    def noticed(self) -> bool:
        """Whether the right check failed because of the damage."""
        return bool(self.outcome.noticed_by)


class DamageDatabase(Message):
    """Damage the drilled database in the way of this name, and judge it again.

    `known` are the findings of before; only what is new can be due to the damage.
    """

    backup: str
    damage: str
    known: tuple[Finding, ...] = ()


# ----------------------------------------------------------------------------------------- evidence


class StoreDrill(Message):
    """Sign the evidence and store it; write it into a folder for people, too, unless `folder` is empty.

    `location` is where the backup was read from: a drill that passed proves that copy.
    """

    evidence: DrillRecord
    folder: str = ""
    location: str = ""
    objects_checked: int = 0
    bytes_checked: int = 0


class DrillReport(Message):
    """A whole drill: its evidence (without the page), the locations that took it, and the files for people.

    `page` and `document` are the evidence as HTML and JSON, `data_docs` what Great Expectations has to say.
    """

    evidence: DrillRecord
    locations: tuple[str, ...] = ()
    page: str = ""
    document: str = ""
    data_docs: str = ""
    findings: tuple[Finding, ...] = ()


class ListDrills(Message):
    """List the drills whose evidence is stored."""


class DrillBrief(Message):
    """A drill in a line."""

    drill: str
    at: dt.datetime
    backup: str
    source: str
    by: str
    passed: bool
    recovery_lag_seconds: float
    recovery_duration_seconds: float
    suites: int
    suites_passed: int
    damages: int
    damages_noticed: int


class DrillsReport(Message):
    """The drills, the newest last, and a finding for each evidence that cannot be believed."""

    drills: tuple[DrillBrief, ...]
    findings: tuple[Finding, ...] = ()
