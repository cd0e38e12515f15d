"""Small documents, keys and repositories in memory: for tests of rooms that need no database.

repository = memory_repository()
writer = UnitWriter(repository, BACKUP, 1, os.urandom)
"""

import datetime as dt
import os
from typing import Any

import msgspec
import numpy as np

from strongroom.crypto.keyring import Keyring
from strongroom.crypto.operator_key import OperatorKey
from strongroom.crypto.recovery_keys import RecoveryPrivateKey
from strongroom.crypto.signing_key import SigningKey
from strongroom.format.documents import (
    FORMAT,
    BackupPlan,
    CaptureTotals,
    Column,
    Manifest,
    PlannedTable,
    SnapshotFacts,
    TableFacts,
)
from strongroom.format.row_maps import TupleIds
from strongroom.repository.repository import Repository
from strongroom.stores.memory import MemoryStore
from strongroom.stores.protocol import Store

BACKUP = "20261123-034500000-9f3a61c2d4"
NOON = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)

SNAPSHOT = SnapshotFacts(
    system_identifier="7500000000000000001",
    timeline=1,
    database_oid=5,
    database="quant",
    server_version=180001,
    xmin=1000,
    xmax=1010,
    wal_lsn="0/5000000",
    taken_at=NOON,
)


def memory_repository(store: Store | None = None) -> Repository:
    """Make a repository in memory, opened by somebody who has every key."""
    signing = SigningKey.generate(os.urandom)
    recovery = RecoveryPrivateKey.generate(os.urandom)
    keyring = Keyring(
        operator=OperatorKey.generate(os.urandom),
        signing=signing,
        signing_public=signing.public(),
        recovery_public=(recovery.public(),),
        recovery_private=recovery,
    )
    return Repository.create(store or MemoryStore(), keyring, NOON, os.urandom)


def column(name: str, type_oid: int = 23, *, number: int = 1, generated: str = "") -> Column:
    """Describe a column."""
    return Column(name=name, number=number, type="", type_oid=type_oid, type_modifier=-1, generated=generated)


def table(oid: int = 16400, name: str = "trades", **facts: Any) -> TableFacts:
    """Describe a table of two columns."""
    described = TableFacts(
        oid=oid,
        schema="public",
        name=name,
        file_node=oid,
        persistence="p",
        access_method="heap",
        columns=(column("id", 20), column("note", 25, number=2)),
    )
    return msgspec.structs.replace(described, **facts)


def planned(facts: TableFacts, extents: int, pages_per_extent: int = 8) -> PlannedTable:
    """Plan a table."""
    return PlannedTable(facts=facts, pages_per_extent=pages_per_extent, extents=extents)


def plan(*tables: PlannedTable, **fields: Any) -> BackupPlan:
    """Plan a full backup of these tables."""
    made = BackupPlan(
        format=FORMAT,
        id=BACKUP,
        kind="full",
        backup_class="scheduled",
        reason="asked for",
        source="quantforge",
        started_at=NOON,
        snapshot=SNAPSHOT,
        tables=tables,
        units=(),
    )
    return msgspec.structs.replace(made, **fields)


def manifest(backup: str = BACKUP, **fields: Any) -> Manifest:
    """Make the manifest of a backup that holds nothing."""
    made = Manifest(
        format=FORMAT,
        id=backup,
        kind="full",
        backup_class="scheduled",
        reason="asked for",
        source="quantforge",
        started_at=NOON,
        finished_at=NOON,
        snapshot=SNAPSHOT,
        tables=(),
        sequences=(),
        collections=(),
        documents=(),
        packs=(),
        row_maps=(),
        data_keys=(),
        totals=CaptureTotals(),
    )
    return msgspec.structs.replace(made, **fields)


def tuple_ids(*numbers: int) -> TupleIds:
    """Make a row map."""
    return np.array(numbers, np.uint64)
