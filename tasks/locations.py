"""The tasks of copying, repairing and retention."""

from prefect import task

from strongroom.operations.location_messages import (
    CollectGarbage,
    CollectionReport,
    CopyObjects,
    CopyReport,
    ExpireBackups,
    ExpiryReport,
    PlanRepair,
    PlanRetention,
    Repair,
    RepairPlanReport,
    RepairReport,
    Replicate,
    ReplicationReport,
    RetentionPlanReport,
    ShredKeys,
)
from tasks.work import Work, options


@task(name="copy objects", task_run_name="copy to all locations", **options())
async def copy_objects(work: Work, request: CopyObjects) -> CopyReport:
    """Copy what the other locations lack, reading each object once."""
    return await work.carry("copy_objects", request, CopyReport)


@task(name="replicate", task_run_name="replicate to {request.location}", **options())
async def replicate(work: Work, request: Replicate) -> ReplicationReport:
    """Make one location list the backups."""
    return await work.carry("replicate", request, ReplicationReport)


@task(name="plan repair", task_run_name="look for missing and damaged objects", **options())
async def plan_repair(work: Work, request: PlanRepair) -> RepairPlanReport:
    """Find out what is missing or damaged, and which location can mend it."""
    return await work.carry("plan_repair", request, RepairPlanReport)


@task(name="repair", task_run_name="copy good objects to where they are missing", **options())
async def repair(work: Work, request: Repair) -> RepairReport:
    """Carry out a plan of repairs."""
    return await work.carry("repair", request, RepairReport)


@task(name="plan retention", task_run_name="plan what expires", **options())
async def plan_retention(work: Work, request: PlanRetention) -> RetentionPlanReport:
    """Plan what expires where, by the rules of each location."""
    return await work.carry("plan_retention", request, RetentionPlanReport)


@task(name="expire backups", task_run_name="expire at {request.location}", **options())
async def expire_backups(work: Work, request: ExpireBackups) -> ExpiryReport:
    """Remove the manifests of a plan from one location."""
    return await work.carry("expire_backups", request, ExpiryReport)


@task(name="shred keys", task_run_name="shred data keys at every location", **options())
async def shred_keys(work: Work, request: ShredKeys) -> CollectionReport:
    """Delete the data keys that nothing reaches, everywhere."""
    return await work.carry("shred_keys", request, CollectionReport)


@task(name="collect garbage", task_run_name="collect garbage at {request.location}", **options())
async def collect_garbage(work: Work, request: CollectGarbage) -> CollectionReport:
    """Free at one location what nothing has reached for the whole grace period."""
    return await work.carry("collect_garbage", request, CollectionReport)
