"""A repository at several locations in memory, with backups written by hand: for tests that need no database.

    places = Places.make(tmp_path, keys, monkeypatch)
    full = places.back_up("full")
    places.replicate()
    places.assert_whole("archive", full)

A backup holds collections only: a full one of its own, an incremental those of its parent and one more. What each
must give back is remembered.
"""

import datetime as dt
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from strongroom.config import Settings, load_settings
from strongroom.deadline import Deadline
from strongroom.format.documents import BackupClass, BackupPlan, CaptureTotals, Collection, Kind, Manifest
from strongroom.ids import new_backup_id
from strongroom.operations.context import Context
from strongroom.operations.location_messages import (
    CollectGarbage,
    CollectionReport,
    ExpireBackups,
    ExpiryReport,
    PlanRetention,
    Replicate,
    ReplicationReport,
    RetentionPlanReport,
    ShredKeys,
)
from strongroom.operations.messages import Level, Message, VerificationReport, VerifyBackup
from strongroom.repository import locations
from strongroom.repository.assembly import assemble_manifest
from strongroom.repository.collections import read_collection
from strongroom.repository.repository import Repository
from strongroom.repository.unit_writer import UnitWriter
from strongroom.runners import InThisProcess
from strongroom.stores.memory import MemoryStore
from strongroom.stores.protocol import Store
from tests.documents import SNAPSHOT, plan
from tests.row_backups import PASSPHRASE, Keys

START = dt.datetime(2026, 11, 2, 3, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)
ROLES = {"local": "local", "edge": "edge", "archive": "archive"}

R = TypeVar("R", bound=Message)


@dataclass
class Places:
    """Locations in memory, a clock that is set by hand, and what each backup must give back."""

    settings: Settings
    keys: Keys
    stores: dict[str, Store]
    now: dt.datetime = START
    held: dict[str, dict[str, bytes]] = field(default_factory=dict)

    @classmethod
    def make(
        cls,
        folder: Path,
        keys: Keys,
        monkeypatch: pytest.MonkeyPatch,
        roles: Mapping[str, str] = ROLES,
        **variables: str,
    ) -> "Places":
        """Make a repository at the first of these locations (name -> role); the others are empty."""
        stores: dict[str, Store] = {name: MemoryStore() for name in roles}
        places = cls(settings_for(folder, keys, roles, variables), keys, stores)
        # The clock of the stores is that of the story: what is stored is as old as it says.
        for store in stores.values():
            if isinstance(store, MemoryStore):
                store._clock = places.seconds
        monkeypatch.setattr(locations, "open_store", lambda url, *_: places.stores[url.rpartition("/")[2]])
        Repository.create(stores[next(iter(roles))], keys.recoverer, START, os.urandom)
        return places

    # ------------------------------------------------------------------------------------ time, context

    def clock(self) -> dt.datetime:
        """Return the present instant of the story, which goes on by a millisecond each time it is asked for."""
        self.now += dt.timedelta(milliseconds=1)
        return self.now

    def seconds(self) -> float:
        """Return the present instant as stores count it."""
        return self.now.timestamp()

    def wait(self, time: dt.timedelta) -> None:
        """Let time go by."""
        self.now += time

    def run(self, operation: str, request: Message, answer: type[R]) -> R:
        """Run an operation in this process, in the story's time."""
        runner = InThisProcess(self.settings, Deadline.after(120, "test"), clock=self.clock)
        return runner.run(operation, request, answer)

    def context(self) -> Context:
        """Return what surrounds an operation."""
        return Context(deadline=Deadline.after(120, "test"), clock=self.clock)

    # ---------------------------------------------------------------------------------------- backups

    def repository(self, location: str) -> Repository:
        """Open what one location holds, with every key."""
        return Repository.open(self.stores[location], self.keys.recoverer)

    def back_up(
        self,
        kind: Kind = "incremental",
        at: str = "",
        backup_class: BackupClass = "scheduled",
        **totals: Any,
    ) -> str:
        """Write a backup at a location (the first one), a minute after what was before; return its id."""
        self.wait(dt.timedelta(minutes=1))
        repository = self.repository(at or next(iter(self.stores)))
        backup = str(new_backup_id(self.now, os.urandom(5)))
        listed = [str(one) for one in repository.backup_ids()]
        parent = listed[-1] if kind != "full" and listed else ""
        before = repository.read_manifest(parent) if parent else None
        planned = plan(
            id=backup,
            kind=kind if parent else "full",
            backup_class=backup_class,
            started_at=self.now,
            snapshot=msgspec.structs.replace(SNAPSHOT, taken_at=self.now),
            parent=parent,
            base=(before.base or before.id) if before else "",
        )
        repository.put_plan(planned, os.urandom)
        self._write(repository, planned, before, totals)
        return backup

    def _write(
        self, repository: Repository, planned: BackupPlan, parent: Manifest | None, totals: Mapping[str, Any]
    ) -> None:
        writer = UnitWriter(repository, planned.id, 1, os.urandom)
        collections: list[Collection] = []
        content: dict[str, bytes] = {}
        if parent is not None:
            document = repository.read_unit_document(parent.documents[0])
            for collection in document.collections:
                chunks = tuple(writer.adopt(chunk, document) for chunk in collection.chunks)
                collections.append(Collection(name=collection.name, chunks=chunks))
            content |= self.held[parent.id]
        name = f"part-{len(collections):03d}"
        content[name] = os.urandom(3000)
        collections.append(Collection(name=name, chunks=(writer.add_bytes(content[name]),)))
        reference = writer.finish((), tuple(collections))
        document = repository.read_unit_document(reference)
        counted = CaptureTotals(
            **{"rows": 10_000, "rows_read": 10, "bytes_stored": writer.bytes_stored, **totals}
        )
        manifest = assemble_manifest(planned, [(reference, document)], counted, (), self.now)
        repository.write_manifest(manifest, os.urandom)
        self.held[planned.id] = content

    # ------------------------------------------------------------------------------------ looking, acting

    def listed(self, location: str) -> list[str]:
        """Return the ids of the backups that a location lists, oldest first."""
        return [str(backup) for backup in self.repository(location).backup_ids()]

    def assert_whole(self, location: str, *backups: str) -> None:
        """Assert that backups (all that are listed) give back, from one location alone, what they must."""
        repository = self.repository(location)
        for backup in backups or self.listed(location):
            manifest = repository.read_manifest(backup)
            found = {
                one.name: b"".join(read_collection(repository, manifest, one.name))
                for one in manifest.collections
            }
            assert self.held[backup] == found, f"{backup} at {location}"

    def replicate(self, *names: str) -> list[ReplicationReport]:
        """Copy to these locations, by default to all."""
        return [
            self.run("replicate", Replicate(location=name), ReplicationReport)
            for name in names or self.stores
        ]

    def verify(
        self, backup: str = "latest", location: str = "", level: Level = "structure"
    ) -> VerificationReport:
        """Verify a copy of a backup."""
        request = VerifyBackup(backup=backup, level=level, location=location)
        return self.run("verify_backup", request, VerificationReport)

    def plan(self, *accept: str) -> RetentionPlanReport:
        """Plan retention."""
        return self.run("plan_retention", PlanRetention(accept=accept), RetentionPlanReport)

    def expire(self) -> RetentionPlanReport:
        """Run the whole of retention once, as the flow does."""
        plan_report = self.plan()
        for name in self.stores:
            mine = tuple(one for one in plan_report.expiries if one.location == name)
            request = ExpireBackups(location=name, expiries=mine, planned_at=plan_report.planned_at)
            self.run("expire_backups", request, ExpiryReport)
        self.run("shred_keys", ShredKeys(), CollectionReport)
        for name in self.stores:
            self.run("collect_garbage", CollectGarbage(location=name), CollectionReport)
        return plan_report


def settings_for(
    folder: Path, keys: Keys, roles: Mapping[str, str], variables: Mapping[str, str] | None = None
) -> Settings:
    """Return settings with these locations (name -> role), at addresses that a test maps to stores."""
    entries = ", ".join(
        f'{{ name = "{name}", role = "{role}", url = "file://{folder}/{name}" }}'
        for name, role in roles.items()
    )
    environment = {
        "STRONGROOM_SOURCE_NAME": "quantforge",
        "STRONGROOM_DATABASE_URL": "postgresql://nobody@localhost/none",
        "STRONGROOM_REPOSITORY_LOCATIONS": f"[{entries}]",
        "STRONGROOM_KEYS_DIRECTORY": str(keys.directory),
        "STRONGROOM_RECOVERY_PASSPHRASE": PASSPHRASE.decode(),
        "STRONGROOM_BACKUP_MAX_BACKUP_SIZE": "0",
        **{f"STRONGROOM_{name.upper()}": value for name, value in (variables or {}).items()},
    }
    return load_settings(None, environment)
