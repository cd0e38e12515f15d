"""The flow of a drill: a recovery that is rehearsed, measured, and kept as evidence.

Plan → start a throw-away server → verify → restore → judge → compare with the baseline → [damage copies] → evidence.
The evidence is stored whether the drill passed or not; if it failed, the run fails after it. Live is never written to,
and of the repository nothing is changed but that the evidence is added.
"""

import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec
from prefect import flow
from psycopg.conninfo import make_conninfo

from blocks import load_settings_for, load_settings_of
from flows.artifacts import key_of, name_run, publish_verification
from flows.drill_artifacts import publish_drill
from flows.empty_destination import docs_folder, restore
from flows.limits import limited
from flows.parallel import in_parallel
from flows.progress import Board, progress_shown
from strongroom.clock import system_clock
from strongroom.config import Settings
from strongroom.drill.damage import DAMAGES
from strongroom.drill.database_damage import DATABASE_DAMAGES
from strongroom.drill.evidence import (
    INTERRUPTED,
    Observed,
    evidence_of,
    failed_only_to_notice,
    reasons,
    undetected,
)
from strongroom.errors import (
    DamageUndetected,
    DrillFailed,
    OnlyUnverified,
    PlanUnfit,
    RecoveryPointTooOld,
    StrongroomError,
    VerificationFailed,
)
from strongroom.format.documents import Finding
from strongroom.format.records import DrillRecord, DrillStep
from strongroom.identity import current_user
from strongroom.ids import new_backup_id
from strongroom.operations.drill_messages import (
    DamageCopyReport,
    DamageDatabase,
    DrillReport,
    DrillServerReport,
    HoldDamageCopy,
    HoldDrillServer,
    MeasureDrill,
    StoreDrill,
    TryDamage,
)
from strongroom.operations.messages import BeginRestore, JudgeRestore, VerifyBackup
from strongroom.operations.recovery_messages import PlanRecovery
from tasks.drill import (
    damage_database,
    hold_damage_copy,
    hold_drill_server,
    measure_drill,
    store_drill,
    try_damage,
)
from tasks.in_place import plan_recovery
from tasks.recovery import begin_restore, judge_restore
from tasks.verification import verify_backup
from tasks.work import Work

DATA_DOCS = "~/.local/state/strongroom/data-docs"
THROW_AWAY = "throw-away"
LIMIT = "recovery.max_recovery_time"

BESIDES_SECONDS = 3600.0
"""What a drill may take beside the recovery: for its server, comparing, damaging copies, telling of its failures."""


@flow(name="drill", flow_run_name="drill", persist_result=False)
async def rehearse(
    configuration: str = "strongroom.toml",
    backup: str = "",
    destination: str = THROW_AWAY,
    mutation: bool = False,
    data_docs: str = DATA_DOCS,
) -> DrillReport:
    """Rehearse the recovery after a complete failure, measure it, and store the evidence.

    Args:
        configuration: Path of a configuration file, or block:NAME for a Strongroom Settings block.
        backup: The id of a backup; empty for the one that a recovery would choose.
        destination: The name throw-away for a server of the drill's own; environment for the empty database that
            STRONGROOM_DESTINATION_URL names, or block:NAME for a Strongroom Destination block.
        mutation: Also damage copies of the backup, and prove that each damage is noticed.
        data_docs: The folder below which pages are kept, those of the evidence among them; empty to keep none.
    """
    settings = await _settings_of(configuration, destination, mutation=mutation)
    source = settings.source.name
    async with (
        limited(settings, whole_seconds(settings), LIMIT) as work,
        progress_shown(key_of("drill-progress", source), f"The drill of {source}") as board,
    ):
        observed = await begin(work, backup, mutation=mutation)
        await name_run(f"{'mutation ' if mutation else ''}drill of {source}, {observed.plan.backup}", source)
        if destination == THROW_AWAY:
            await drill_in_own_server(work, observed, board, data_docs)
        else:
            await drill_into(work, observed, board, data_docs)
        if mutation:
            await damage_copies(work, observed)
        report = await keep(work, observed, data_docs)
        await publish_drill(source, report)
        require_passed(report.evidence)
    return report


async def begin(work: Work, backup: str, *, mutation: bool) -> Observed:
    """Make the plan of the recovery that is rehearsed, and begin the tally of the drill.

    A backup that no verification has proven yet, or an old one, is drilled all the same: a drill is how it is proven.
    """
    findings = []
    wanted = PlanRecovery(scenario="complete_failure", backup=backup)
    try:
        plan = (await work.do(plan_recovery, wanted)).plan
    except (OnlyUnverified, RecoveryPointTooOld) as error:
        findings = [_finding(error, "the recovery point", "warning")]
        plan = (await work.do(plan_recovery, msgspec.structs.replace(wanted, force=True))).plan
    now, settings = system_clock(), work.settings
    return Observed(
        drill=new_backup_id(now, os.urandom(5)),
        plan=plan,
        begun=now,
        lag_objective=plan.recovery_lag_objective_seconds or settings.backup.schedule_interval,
        duration_objective=settings.recovery.max_recovery_time,
        wants_damage=mutation,
        findings=findings,
    )


# ------------------------------------------------------------------------------------- the recovery


async def drill_in_own_server(work: Work, observed: Observed, board: Board, data_docs: str) -> None:
    """Recover into a throw-away server, which is gone at the end; also damage what was restored, if wanted."""
    request = HoldDrillServer(backup=observed.plan.backup)
    with_server = work.hold("hold_drill_server", request, DrillServerReport)
    async with noted(observed), with_server as held:
        async with timed(observed, "start a throw-away server"):
            server = await work.do(hold_drill_server, held)
        observed.server_version = server.server_version
        observed.findings += server.findings
        settings = settings_inside(work.settings, server)
        async with limited(settings, whole_seconds(settings), LIMIT) as inside:
            await held.during(drill_into(inside, observed, board, data_docs, may_damage=True))
        await held.release()


async def drill_into(
    work: Work, observed: Observed, board: Board, data_docs: str, *, may_damage: bool = False
) -> None:
    """Recover into the destination, and compare; what ends the recovery is noted, for the evidence to tell."""
    async with noted(observed):
        await recover(work, observed, board, data_docs)
        async with timed(observed, "compare with the baseline"):
            observed.measures = await work.do(measure_drill, MeasureDrill(backup=observed.plan.backup))
        observed.server_version = observed.measures.server_version
        if may_damage and observed.wants_damage:
            await damage_restored(work, observed)


async def recover(work: Work, observed: Observed, board: Board, data_docs: str) -> None:
    """Carry out what is rehearsed, within the time that a recovery may take, and measure how long that is."""
    settings, backup = work.settings, observed.plan.backup
    inside = work.within(settings.recovery.max_recovery_time, LIMIT)
    begun = time.monotonic()
    try:
        async with timed(observed, "verify the stored bytes"):
            await verify(inside, observed)
        async with timed(observed, "check the destination"):
            plan = await inside.do(begin_restore, BeginRestore(backup=backup))
        async with timed(observed, "restore"):
            steps = await restore(inside, plan, board)
        observed.bytes_moved = sum(step.bytes_moved for step in steps)
        observed.findings += (*plan.findings, *(found for step in steps for found in step.findings))
        async with timed(observed, "judge by the integrity suites"):
            request = JudgeRestore(backup=backup, data_docs=docs_folder(data_docs, backup))
            observed.integrity = await inside.do(judge_restore, request)
        observed.data_docs = observed.integrity.data_docs
    finally:
        observed.recovery_seconds = time.monotonic() - begun


async def verify(work: Work, observed: Observed) -> None:
    """Prove that every byte that will be read is there and unchanged. Raises `VerificationFailed`."""
    limit = work.settings.recovery.verification_timeout
    request = VerifyBackup(backup=observed.plan.backup, level="structure")
    report = await work.within(limit, "recovery.verification_timeout").do(verify_backup, request)
    observed.verification = report
    await publish_verification(work.settings.source.name, report)
    if not report.passed:
        first = next((f"{found.code} {found.object}" for found in report.findings), "no finding was given")
        raise VerificationFailed(
            backup=report.backup, level=report.level, findings=len(report.findings), first=first
        )


# -------------------------------------------------------------------------------------------- damage


async def damage_restored(work: Work, observed: Observed) -> None:
    """Damage the restored database in each way, one after the other, and have the suites run after each."""
    known = observed.integrity.findings if observed.integrity else ()
    async with timed(observed, "damage the restored database"):
        for damage in DATABASE_DAMAGES:
            request = DamageDatabase(backup=observed.plan.backup, damage=damage.name, known=known)
            report = await work.do(damage_database, request)
            observed.damages.append(report)
            known = report.findings or known


async def damage_copies(work: Work, observed: Observed) -> None:
    """Copy what the backup reaches; verify the copy as it is, then damaged in each way."""
    request = HoldDamageCopy(backup=observed.plan.backup)
    holding = work.hold("hold_damage_copy", request, DamageCopyReport)
    async with noted(observed), timed(observed, "damage copies of the backup"), holding as held:
        copy = await work.do(hold_damage_copy, held)
        damages = ["", *(damage.name for damage in DAMAGES)]
        requests = [
            TryDamage(backup=request.backup, folder=copy.folder, older=copy.older, damage=name)
            for name in damages
        ]
        jobs = [partial(work.do, try_damage, one) for one in requests]
        control, *tried = await held.during(in_parallel(jobs, work.settings.backup.parallelism))
        await held.release()
        observed.control = control
        # Damage to stored bytes comes first in the report, as in a disaster.
        observed.damages[:0] = tried
        if copy.is_made_up:
            observed.findings.append(_made_up(copy.older))


def _made_up(older: str) -> Finding:
    return Finding(
        severity="info",
        code="drill-older-manifest",
        object="older-manifest",
        observed=f"the repository lists no other backup, so the manifest of {older} was made for the copy",
    )


# ------------------------------------------------------------------------------------------ evidence


async def keep(work: Work, observed: Observed, data_docs: str) -> DrillReport:
    """Put the evidence together and store it."""
    verified = observed.verification
    request = StoreDrill(
        evidence=evidence_of(observed, system_clock(), current_user()),
        folder=str(Path(data_docs) / "drills" / observed.drill) if data_docs else "",
        location=verified.location if verified else "",
        objects_checked=verified.objects_checked if verified else 0,
        bytes_checked=verified.bytes_checked if verified else 0,
    )
    report = await work.do(store_drill, request)
    return msgspec.structs.replace(report, data_docs=observed.data_docs)


def require_passed(record: DrillRecord) -> None:
    """Raise `DamageUndetected` if nothing else is wrong, else `DrillFailed`, unless the drill passed."""
    if record.passed:
        return
    missed = undetected(record)
    if failed_only_to_notice(record):
        raise DamageUndetected(missed=len(missed), damages=len(record.damages), names=", ".join(missed))
    raise DrillFailed(backup=record.backup, reason=reasons(record))


@asynccontextmanager
async def noted(observed: Observed) -> AsyncIterator[None]:
    """Note an error of ours that ends the block, for the evidence; the drill goes on to store it."""
    try:
        yield
    except StrongroomError as error:
        observed.findings.append(_finding(error, "the drill", "critical", INTERRUPTED))


@asynccontextmanager
async def timed(observed: Observed, name: str) -> AsyncIterator[None]:
    """Measure how long a step takes, also if it fails."""
    begun = time.monotonic()
    try:
        yield
    finally:
        observed.steps.append(DrillStep(name=name, seconds=round(time.monotonic() - begun, 3)))


def _finding(error: StrongroomError, subject: str, severity: str, code: str = "") -> Finding:
    return Finding(
        severity="critical" if severity == "critical" else "warning",
        code=code or error.code,
        object=subject,
        observed=f"{error.code} {error.render()}",
        advice=error.advice(),
    )


# ------------------------------------------------------------------------------------------ settings


def whole_seconds(settings: Settings) -> float:
    """Return how long a whole drill may take; 0 if a recovery may take any time."""
    allowed = settings.recovery.max_recovery_time
    return allowed + BESIDES_SECONDS if allowed else 0.0


async def _settings_of(configuration: str, destination: str, *, mutation: bool) -> Settings:
    """Return the settings, with the destination if it is not the drill's own. Raises `PlanUnfit`."""
    if destination == THROW_AWAY:
        return await load_settings_of(configuration)
    if mutation:
        reason = (
            "a mutation drill damages the database that it restored, and does so only in a server of its own"
        )
        raise PlanUnfit(plan="of a mutation drill", reason=reason)
    return await load_settings_for(configuration, destination)


def settings_inside(settings: Settings, server: DrillServerReport) -> Settings:
    """Return the settings whose destination is the drill's own server.

    Nothing of the `PG…` variables is in them: a PGHOSTADDR would lead a socket's address to another server.
    """
    address = make_conninfo(
        host=server.socket_directory, port=server.port, dbname=server.database, user=server.user
    )
    document = json.loads(settings.to_child())
    document["settings"]["destination"] = {"database_url": address}
    document["environment"] = {}
    return Settings.from_child(json.dumps(document).encode())
