"""Carry out a plan of repairs: good copies go where something is missing or damaged."""

from contextlib import suppress
from itertools import groupby

from strongroom.config import Settings
from strongroom.errors import CopyDamaged, FormatError, KeyringError
from strongroom.format.documents import Finding
from strongroom.ids import new_backup_id
from strongroom.keys import load_keyring
from strongroom.operations.context import Context, Progress
from strongroom.operations.location_messages import Mend, Repair, RepairReport
from strongroom.repository.leases import Lease
from strongroom.repository.locations import Location, nearest, open_locations
from strongroom.repository.opening import identify
from strongroom.repository.repair import Fault, Repairing
from strongroom.repository.repository import Repository
from strongroom.repository.writing import COPY_RIGHT


def repair(settings: Settings, request: Repair, context: Context) -> RepairReport:
    """Mend object by object; what cannot be mended becomes a finding and keeps nothing else from being mended.

    Raises `LeaseHeld` if somebody is copying to one of the locations, `ForeignRepository`, and what their stores
    raise.
    """
    locations = open_locations(settings, context.deadline)
    keyring = load_keyring(settings.keys.directory)
    repaired: list[Mend] = []
    findings: list[Finding] = []
    copied = 0
    ordered = sorted(request.mends, key=lambda mend: mend.location)
    for name, mends in groupby(ordered, key=lambda mend: mend.location):
        location = next(one for one in locations if one.name == name)
        others = [one for one in locations if one.name != name]
        if not others or location.settings.read_only:
            reason = "the location is read-only" if others else "there is no other location"
            findings += [_unmended(mend, reason) for mend in mends]
            continue
        with suppress(FormatError, KeyringError):
            # If what is damaged is the description of the repository itself, it is mended like the rest.
            identify(location, keyring, Repository.open(nearest(others), keyring).info.id)
        repairing = Repairing(nearest(others), location, keyring)
        with _right(location, context) as lease:
            for mend in mends:
                lease.check()
                context.deadline.check()
                try:
                    repairing.mend(Fault(mend.name, mend.size, mend.sha256, mend.problem))
                except CopyDamaged as error:
                    findings.append(_unmended(mend, error.render()))
                else:
                    repaired.append(mend)
                context.progress(Progress(len(repaired), len(ordered), "objects", name))
        copied += repairing.bytes_copied
    return RepairReport(repaired=tuple(repaired), bytes_copied=copied, findings=tuple(findings))


def _right(location: Location, context: Context) -> Lease:
    token = new_backup_id(context.clock(), context.random(5))
    return Lease(location.store, COPY_RIGHT, token, context.clock)


def _unmended(mend: Mend, reason: str) -> Finding:
    return Finding(
        severity="critical",
        code=CopyDamaged.code,
        object=f"{mend.name} at {mend.location}",
        observed=reason,
        advice=CopyDamaged.hint,
    )
