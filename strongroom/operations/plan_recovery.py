"""Plan a recovery: look at the catalog, count what live holds, put the plan together. Nothing is written anywhere."""

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import msgspec

from strongroom.config import Settings
from strongroom.errors import (
    ConfigMissing,
    FormatError,
    KeyringError,
    MissingKey,
    ObjectMissing,
    StrongroomError,
)
from strongroom.format.documents import Finding, Manifest
from strongroom.format.records import DrillRecord, Record, RecoveryRecord
from strongroom.format.recovery_plans import Scenario, ScopedTable
from strongroom.operations.context import Context
from strongroom.operations.recovery_messages import PlanRecovery, RecoveryPlanReport
from strongroom.postgres.archive_toc import read_toc
from strongroom.postgres.connection import connect
from strongroom.recovery.live_counts import count_live
from strongroom.recovery.planning import plan as planning
from strongroom.recovery.planning.choosing import choose_point
from strongroom.recovery.planning.facts import LiveCount, Measured, PlanFacts, RecoveryPoint, RecoveryPolicy
from strongroom.recovery.planning.partitions import has_unknown, with_partitions
from strongroom.recovery.planning.scope import choose_scope
from strongroom.repository import layout
from strongroom.repository.collections import SCHEMA, read_collection
from strongroom.repository.inventory import Inventory, take_inventory
from strongroom.repository.opening import open_repository
from strongroom.repository.repository import Repository

R = TypeVar("R", bound=Record)

COUNT_SECONDS = 20.0
"""How long counting live tables may hold a plan up in all."""

_NEWEST = 20
"""How many records of a kind are read for what they measured."""


def plan_recovery(settings: Settings, request: PlanRecovery, context: Context) -> RecoveryPlanReport:
    """Make a plan. Raises what `planning.plan_recovery` raises, and what keeps the repository from being read.

    A location out of reach, a manifest that is not believed and a live database that does not answer are findings.
    """
    now = context.clock()
    inventory = take_inventory(settings, context.deadline, now, strict=False)
    catalog, policy = catalog_of(inventory), policy_of(settings)
    source = settings.source.name
    chosen = choose_point(catalog, source, request, policy, now)
    manifest = inventory.manifest(chosen.point.backup)
    request = _with_partitions(settings, request, manifest)
    tables = choose_scope(request.scenario, request, manifest)
    live, unknown = _look_at_live(settings, request.scenario, tables, context)
    facts = PlanFacts(
        source=source,
        wishes=request,
        manifest=manifest,
        random=context.random(5),
        live=live,
        live_unknown=unknown,
        history=tuple(_history(inventory.repository)),
        findings=_less_severe(inventory.findings),
    )
    return RecoveryPlanReport(plan=planning.plan_recovery(request.scenario, catalog, facts, policy, now))


def policy_of(settings: Settings) -> RecoveryPolicy:
    """Return the policy that recoveries are planned by."""
    recovery = settings.recovery
    return RecoveryPolicy(
        min_recovery_point_age=dt.timedelta(seconds=recovery.min_recovery_point_age),
        max_data_loss_percent=recovery.max_data_loss_percent,
        max_recovery_time=dt.timedelta(seconds=recovery.max_recovery_time),
        schedule_interval=dt.timedelta(seconds=settings.backup.schedule_interval),
        rollback_strategy=recovery.rollback_strategy,
    )


def catalog_of(inventory: Inventory) -> list[RecoveryPoint]:
    """Return the recovery points of all sources, oldest first."""
    return [
        RecoveryPoint.of(facts, inventory.proofs.get(facts.id, ())) for facts in inventory.catalog.backups
    ]


def _with_partitions(settings: Settings, request: PlanRecovery, manifest: Manifest) -> PlanRecovery:
    """Take a partitioned table for its partitions; only a recovery key opens the archive that says which they are."""
    if not has_unknown(request.tables, manifest):
        return request
    try:
        repository = open_repository(settings, to_read_rows=True)
    except (ConfigMissing, MissingKey):
        return request
    archive = b"".join(read_collection(repository, manifest, SCHEMA))
    return msgspec.structs.replace(
        request, tables=with_partitions(request.tables, manifest, read_toc(archive))
    )


def _look_at_live(
    settings: Settings, scenario: Scenario, tables: Sequence[ScopedTable], context: Context
) -> tuple[dict[str, LiveCount], str]:
    """Return what live holds, or why nobody knows: planning must work while the source is away."""
    if scenario == "complete_failure":
        return {}, "the source may be gone"
    try:
        with connect(settings.conninfo(), context.deadline, application_name="strongroom plan") as connection:
            names = [(table.schema, table.name) for table in tables]
            return count_live(connection, names, min(COUNT_SECONDS, context.deadline.remaining())), ""
    except StrongroomError as error:
        context.deadline.check()
        return {}, error.render()


def _history(repository: Repository) -> Iterator[Measured]:
    """Yield what earlier recoveries and drills have measured; what cannot be read has measured nothing."""
    yield from _measured(repository, RecoveryRecord, layout.RECOVERIES, Measured.of_recovery)
    yield from _measured(repository, DrillRecord, layout.DRILLS, Measured.of_drill)


def _measured(
    repository: Repository, kind: type[R], folder: str, read: Callable[[R], Measured | None]
) -> Iterator[Measured]:
    names = sorted(repository.record_names(folder), key=layout.stamp_of)
    for name in names[-_NEWEST:]:
        try:
            measured = read(repository.read_record(kind, name))
        except (FormatError, KeyringError, ObjectMissing):
            continue
        if measured is not None:
            yield measured


def _less_severe(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return what the catalog could not read, as warnings: the plan does without it."""
    return tuple(msgspec.structs.replace(finding, severity="warning") for finding in findings)
