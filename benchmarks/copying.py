"""A repository in a folder copied to two buckets by the engine's operations, each in a child process.

    with tempfile.TemporaryDirectory() as folder:
        figures = copy_to_two(Path(folder), [place, other], sizes=[16 << 20] * 16)
        figures["bytes_read"] / figures["bytes"]

Bytes that cannot be compressed are written as one backup without a database. Writer and operations have processes
of their own: no one's memory is another's.
"""

import datetime as dt
import os
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.measuring import Cost, measured
from benchmarks.moving import Place, settings_for
from strongroom.config import load_settings
from strongroom.deadline import Deadline
from strongroom.format.documents import CaptureTotals, Collection
from strongroom.ids import new_backup_id
from strongroom.keys import create_keys, load_keyring
from strongroom.operations.location_messages import CopyObjects, CopyReport, Replicate, ReplicationReport
from strongroom.repository.assembly import assemble_manifest
from strongroom.repository.locations import open_location
from strongroom.repository.reach import reached_objects
from strongroom.repository.repository import Repository
from strongroom.repository.unit_writer import UnitWriter
from strongroom.runners import InChildren
from tests.documents import SNAPSHOT, plan

_PASSPHRASE = "benchmark"  # noqa: S105 - of keys that live for one run
_CHUNK_BYTES = 1 << 20
_PROCESSES = get_context("spawn")

Environment = Mapping[str, str]


def copy_to_two(
    folder: Path, places: Sequence[Place], packs: int, pack_bytes: int, parallel: int = 4
) -> dict[str, float]:
    """Write a repository of so many packs and copy it to two places; return what that took.

    `bytes` is what the backup holds, `bytes_read` what copying read in the folder, `bytes_copied` what both places
    got; `wall` and `cpu` are the seconds of `copy_objects`, `all_wall` with the two `replicate` after it.
    """
    edge, archive = places
    environment = settings_for(
        f'{{ name = "folder", role = "local", url = "file://{folder}/repository" }}',
        edge.entry("edge", "edge"),
        archive.entry("archive", "archive"),
        keys_directory=str(folder / "keys"),
        recovery_passphrase=_PASSPHRASE,
        repository_parallel_copies=str(parallel),
    )
    total: int = _in_process(_write, environment, packs, pack_bytes)
    return {"bytes": total, **_in_process(_copy, environment)}


# ---------------------------------------------------------------------------------- writing


def _write(environment: Environment, packs: int, pack_bytes: int) -> int:
    """Write one full backup; return the bytes of all objects that it reaches."""
    settings = load_settings(None, environment)
    create_keys(settings.keys.directory, _PASSPHRASE.encode(), os.urandom)
    now = dt.datetime.now(dt.UTC)
    store = open_location(settings).store
    repository = Repository.create(store, load_keyring(settings.keys.directory), now, os.urandom)
    backup = str(new_backup_id(now, os.urandom(5)))
    planned = plan(id=backup, source="benchmark", started_at=now, snapshot=SNAPSHOT)
    repository.put_plan(planned, os.urandom)
    writer = UnitWriter(repository, backup, 1, os.urandom, compress=False)
    # A pack is closed by the chunk that fills it: many small ones for usual packs, one for a large pack.
    length = _CHUNK_BYTES if packs > 1 else pack_bytes
    chunks = tuple(writer.add_bytes(os.urandom(length)) for _ in range(packs * pack_bytes // length))
    reference = writer.finish((), (Collection(name="random", chunks=chunks),))
    document = repository.read_unit_document(reference)
    counted = CaptureTotals(bytes_stored=writer.bytes_stored)
    manifest = assemble_manifest(planned, [(reference, document)], counted, (), now)
    repository.write_manifest(manifest, os.urandom)
    return sum(one.size for one in reached_objects(manifest))


# ---------------------------------------------------------------------------------- copying


def _copy(environment: Environment) -> dict[str, float]:
    """Copy to both places, and have both list the backup."""
    runner = InChildren(load_settings(None, environment), Deadline.never())
    costs: list[Cost] = []
    with measured() as cost:
        copied = runner.run("copy_objects", CopyObjects(), CopyReport)
    costs.append(cost)
    listed: list[ReplicationReport] = []
    for name in ("edge", "archive"):
        with measured() as cost:
            listed.append(runner.run("replicate", Replicate(location=name), ReplicationReport))
        costs.append(cost)
    if any(one.error for one in copied.places) or [one.listed for one in listed] != [1, 1]:
        raise RuntimeError(f"not all was copied: {copied} {listed}")
    return {
        "bytes_read": copied.bytes_read + sum(one.bytes_read for one in listed),
        "bytes_copied": sum(one.bytes_copied for one in copied.places)
        + sum(one.bytes_copied for one in listed),
        "wall": costs[0].wall,
        "cpu": costs[0].cpu,
        "all_wall": sum(one.wall for one in costs),
        "peak_rss": max(one.peak_rss for one in costs),
    }


# ---------------------------------------------------------------------------------- processes


def _in_process(work: Callable[..., Any], *arguments: object) -> Any:
    """Call a function in a new process, whose children are its own, and return what it returned."""
    pipe, theirs = _PROCESSES.Pipe(duplex=False)
    process = _PROCESSES.Process(target=_send, args=(theirs, work, arguments))
    process.start()
    theirs.close()
    try:
        return pipe.recv()
    except EOFError:
        raise RuntimeError(f"{work.__name__} failed; its process said why") from None
    finally:
        process.join()
        pipe.close()


def _send(pipe: Connection, work: Callable[..., object], arguments: tuple[object, ...]) -> None:
    pipe.send(work(*arguments))
