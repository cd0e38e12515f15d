"""Find out what is missing or damaged at each location, and which other one can mend it. Changes nothing."""

from collections.abc import Sequence

from strongroom.config import Settings
from strongroom.errors import CopyDamaged, StoreError, Transient
from strongroom.findings import finding_of
from strongroom.format.documents import Finding
from strongroom.operations.context import Context, Progress
from strongroom.operations.location_messages import Mend, PlanRepair, RepairPlanReport
from strongroom.repository.inventory import take_inventory
from strongroom.repository.locations import Location, by_nearness, find_location
from strongroom.repository.repair import Fault, find_faults, newest_form


def plan_repair(settings: Settings, request: PlanRepair, context: Context) -> RepairPlanReport:
    """Return what could be mended, and a finding for what no location has any more.

    Raises `UnknownLocation`; a location out of reach becomes a finding.
    """
    find_location(settings, request.location)
    inventory = take_inventory(settings, context.deadline, context.clock(), strict=False)
    mends: list[Mend] = []
    findings = list(inventory.findings)
    looked_at = 0
    for place, location in enumerate(inventory.locations):
        if request.location not in {"", location.name}:
            continue
        context.progress(Progress(place, len(inventory.locations), "locations", location.name))
        looked = find_faults(inventory, location, context.deadline, read_everything=request.read_everything)
        looked_at += looked.objects
        others = [other for other in by_nearness(inventory.locations) if other.name != location.name]
        for fault in looked.faults:
            source = _source_of(fault, others)
            mends.append(
                Mend(
                    location=location.name,
                    name=fault.name,
                    size=fault.size,
                    sha256=fault.sha256,
                    problem=fault.problem,
                    source=source,
                )
            )
            if not source:
                findings.append(_hopeless(fault, location))
    return RepairPlanReport(
        mends=tuple(mends),
        objects_looked_at=looked_at,
        bytes=sum(mend.size for mend in mends if mend.source),
        findings=tuple(findings),
    )


def _source_of(fault: Fault, others: Sequence[Location]) -> str:
    """Return the nearest location that seems to have a good copy: mending reads and compares it.

    Raises what may pass: a location that does not answer now may have one.
    """
    for other in others:
        try:
            size = other.store.stat(newest_form(other.store, fault.name)).size
        except StoreError as error:
            if isinstance(error, Transient):
                raise
            continue
        if not fault.sha256 or size == fault.size:
            return other.name
    return ""


def _hopeless(fault: Fault, location: Location) -> Finding:
    error = CopyDamaged(name=fault.name, reasons=f"it is {fault.problem} at {location.name}")
    return finding_of(error, f"{fault.name} at {location.name}", "critical")
