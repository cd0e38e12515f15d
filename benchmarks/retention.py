"""Planning retention for a repository of seven years: 10,000 backups that reach a million objects.

    python -m benchmarks.retention

A full every week shares nothing; the 27 incrementals after it reach what of the full and of each other has not been
written again. Printed are seconds and memory (peak of this process above what it held before) of building the
catalog and of planning. The bounds are 10 seconds and 300 MiB; beyond them the exit status is 1.
"""

import datetime as dt
import json
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from strongroom.retention.facts import BackupFacts, RetentionCatalog
from strongroom.retention.plan import RetentionPlan, plan_retention
from strongroom.retention.policy import RetentionPolicy

MAX_SECONDS = 10.0
MAX_BYTES = 300 * 1024**2

_BACKUPS = 10_000
_OBJECTS = 1_000_000
_EVERY = dt.timedelta(hours=6)
_TO_A_FULL = 28
_TABLES = tuple(f"public.table_{number:03}" for number in range(100))
_NOW = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)


@dataclass(frozen=True)
class RetentionCost:
    """What was measured; bytes are above what the process held before anything was built."""

    backups: int
    objects: int
    reached: int
    build_seconds: float
    plan_seconds: float
    catalog_bytes: int
    peak_bytes: int
    keeps: int
    expiries: int

    @property
    def within_bounds(self) -> bool:
        """Tell whether planning took no longer, and all of it no more memory, than it may."""
        return self.plan_seconds < MAX_SECONDS and self.peak_bytes < MAX_BYTES


def many_backups() -> RetentionCatalog:
    """Build the catalog: fulls of 2,000 objects, incrementals of about 30 new ones that replace as many."""
    random = np.random.default_rng(7)
    sizes = random.integers(1_000, 32_000_000, _OBJECTS)
    fulls = -(-_BACKUPS // _TO_A_FULL)
    per_full = 2000
    per_incremental = (_OBJECTS - fulls * per_full) // (_BACKUPS - fulls)
    found, first, reach = [], 0, np.empty(0, np.int32)
    for number in range(_BACKUPS):
        is_full = number % _TO_A_FULL == 0
        size = per_full if is_full else per_incremental
        # The last one takes what the division left over.
        fresh = np.arange(first, _OBJECTS if number == _BACKUPS - 1 else first + size, dtype=np.int32)
        first += len(fresh)
        stays = reach[random.random(len(reach)) > 0.005]
        reach = fresh if is_full else np.concatenate([stays, fresh])
        found.append(
            BackupFacts(
                id=f"{number:08}",
                kind="full" if is_full else "incremental",
                backup_class="emergency" if number % 97 == 0 else "scheduled",
                source="quant",
                taken_at=_NOW - (_BACKUPS - number) * _EVERY,
                locations=("disk", "nas", "s3"),
                reach=reach,
                proven="structure",
                rows=100 * 5000,
                rows_read=4000,
                bytes_raw=40_000_000 if is_full else 5_000_000,
                bytes_stored=8_000_000 if is_full else 1_000_000,
                tables=_TABLES,
                table_rows=np.full(len(_TABLES), 5000, np.int64),
            )
        )
    return RetentionCatalog.of(found, sizes)


def measure() -> tuple[RetentionCost, RetentionPlan]:
    """Build, plan, and return what it took and what came out."""
    before = _peak()
    started = time.perf_counter()
    catalog = many_backups()
    built = time.perf_counter()
    held = _resident()
    policy = RetentionPolicy.by_default([("disk", "local"), ("nas", "edge"), ("s3", "archive")])
    plan = plan_retention(catalog, policy, _NOW)
    ended = time.perf_counter()
    cost = RetentionCost(
        backups=len(catalog.backups),
        objects=_count_objects(catalog),
        reached=sum(len(backup.reach) for backup in catalog.backups),
        build_seconds=built - started,
        plan_seconds=ended - built,
        catalog_bytes=held - before,
        peak_bytes=_peak() - before,
        keeps=len(plan.keeps),
        expiries=len(plan.expiries),
    )
    return cost, plan


def _count_objects(catalog: RetentionCatalog) -> int:
    """Count the objects that any backup reaches."""
    reached = np.zeros(len(catalog.sizes), np.bool_)
    for backup in catalog.backups:
        reached[backup.reach] = True
    return int(reached.sum())


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def main() -> int:
    """Measure once and print it."""
    cost, _ = measure()
    print(json.dumps({**vars(cost), "within_bounds": cost.within_bounds}, indent=1))
    return 0 if cost.within_bounds else 1


if __name__ == "__main__":
    sys.exit(main())
