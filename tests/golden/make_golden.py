"""Make the golden repository of today's format, or prove that today's code still writes it and reads all before it.

    python -m tests.golden.make_golden            write tests/golden/v<FORMAT> anew
    python -m tests.golden.make_golden --verify   compare it with what today's code writes; CI does this

The repositories of earlier formats stay as they were when these were today's: no code writes them any more, and
`--verify` restores them and compares the rows.

Clock, keys and randomness are fixed, so every byte is determined but two kinds. Sealing with HPKE draws its
own randomness: objects under `keys/` are compared by opening them, and a new run keeps an old one that opens
to the same key. And another version of the zstd library may compress differently: `made-with.json` names
the one that was used, and under another the decoded content is compared instead of the bytes.
"""

import argparse
import datetime as dt
import hashlib
import json
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import zstandard

from strongroom.crypto.keyring import Keyring
from strongroom.crypto.operator_key import OperatorKey
from strongroom.crypto.recovery_keys import RecoveryPrivateKey, open_data_key
from strongroom.crypto.signing_key import SigningKey
from strongroom.format.documents import (
    FORMAT,
    BackupPlan,
    CaptureTotals,
    Chunk,
    Collection,
    Extent,
    Finding,
    Layer,
    ObjectRef,
    PlannedTable,
    PlannedUnit,
    SequenceState,
    SnapshotFacts,
    TablePart,
    TableSlice,
    UnitDocument,
)
from strongroom.format.liveness import encode_dead
from strongroom.format.row_maps import TupleIds
from strongroom.ids import BackupId, new_backup_id
from strongroom.repository.assembly import assemble_manifest, sum_totals
from strongroom.repository.chunks import ChunkReader
from strongroom.repository.collections import read_collection
from strongroom.repository.layout import key_form, key_set_number
from strongroom.repository.repository import Repository
from strongroom.repository.unit_writer import UnitWriter
from strongroom.stores.memory import MemoryStore
from tests.golden.afterwards import RECORDS, happen_afterwards
from tests.golden.scripted import TABLES, UNITS, Rows, ScriptedTable, collections, expected_rows

EARLIER = tuple(Path(__file__).parent / f"v{version}" for version in range(1, FORMAT))
FOLDER = Path(__file__).parent / f"v{FORMAT}"
REPOSITORY, KEYS, EXPECTED, MADE_WITH = "repository", "keys", "expected", "made-with.json"
PASSPHRASE = b"golden passphrase, for tests only"

FULL_AT = dt.datetime(2026, 1, 2, 3, 4, 5, 6000, tzinfo=dt.UTC)
INCREMENTAL_AT = FULL_AT + dt.timedelta(hours=6)

_NOTICE = """\
These keys belong to the golden repository beside them. They are made from a fixed seed, they are public, and
so is their passphrase: they are for tests only and must never protect anything.
"""


class CountedRandom:
    """Bytes that look random and are the same in every run: SHA-256 over a seed and a counter."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._count = 0

    def __call__(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        out = b""
        while len(out) < size:
            out += hashlib.sha256(f"{self._seed}/{self._count}".encode()).digest()
            self._count += 1
        return out[:size]


def golden_keyring() -> Keyring:
    """Return all keys of the golden repository."""
    random = CountedRandom("golden keys")
    signing = SigningKey.generate(random)
    recovery = RecoveryPrivateKey.generate(random)
    return Keyring(
        operator=OperatorKey.generate(random),
        signing=signing,
        signing_public=signing.public(),
        recovery_public=(recovery.public(),),
        recovery_private=recovery,
        further_private=(RecoveryPrivateKey.generate(CountedRandom("golden second recovery key")),),
    )


def key_files(keyring: Keyring) -> dict[str, bytes]:
    """Return the key files of a keyring, and the notice beside them."""
    signing = keyring.require_signing()
    recovery, second = keyring.recovery_privates()
    return {
        "NOTICE": _NOTICE.encode(),
        "operator.key": keyring.require_operator().to_text().encode(),
        "signing.key": signing.to_pem(),
        "signing.pub": signing.public().to_pem(),
        "recovery.pub": recovery.public().to_pem(),
        "recovery.pem": recovery.to_pem(PASSPHRASE, CountedRandom("golden recovery.pem")),
        "recovery-second.pub": second.public().to_pem(),
        "recovery-second.pem": second.to_pem(PASSPHRASE, CountedRandom("golden recovery-second.pem")),
    }


# ------------------------------------------------------------------------------------------ backups


class ScriptedBackup:
    """One of the two backups: the full, or the incremental that is built on it."""

    def __init__(self, repository: Repository, full: BackupId | None = None) -> None:
        self.repository = repository
        self.full = full
        self.changed = full is not None
        self.started_at = INCREMENTAL_AT if self.changed else FULL_AT
        self.random = CountedRandom("golden incremental" if self.changed else "golden full")
        self.id = new_backup_id(self.started_at, self.random(5))
        self._parents: list[tuple[ObjectRef, UnitDocument]] = []

    def write(self) -> BackupId:
        """Store the plan, the units and, last, the manifest (I1)."""
        plan = self._plan()
        self.repository.put_plan(plan, self.random)
        if self.full:
            manifest = self.repository.read_manifest(self.full)
            self._parents = [(ref, self.repository.read_unit_document(ref)) for ref in manifest.documents]
        documents, totals = [], []
        for number in range(len(UNITS) + 1):
            writer = UnitWriter(self.repository, self.id, number, self.random, compress=plan.compress)
            reference = self._unit(number, writer)
            documents.append((reference, self.repository.read_unit_document(reference)))
            totals.append(
                CaptureTotals(
                    bytes_raw=writer.bytes_raw, bytes_stored=writer.bytes_stored, packs=writer.packs_written
                )
            )
        finding = Finding(severity="info", code="golden", object=self.id, advice="Nothing is to be done.")
        manifest = assemble_manifest(
            plan,
            documents,
            sum_totals(totals, len(TABLES), 2.5),
            (finding,) if self.changed else (),
            self.started_at + dt.timedelta(seconds=2.5),
        )
        self.repository.write_manifest(manifest, self.random)
        return self.id

    def _unit(self, number: int, writer: UnitWriter) -> ObjectRef:
        """Write a unit; one of which nothing changed is the parent's document, as it is."""
        if number == 0:
            found = collections(changed=self.changed).items()
            return writer.finish((), tuple(_collection(writer, name, pieces) for name, pieces in found))
        slices = UNITS[number - 1]
        tables = [TABLES[table] for table, _, _ in slices]
        if self.changed and not any(table.changes or table.grown for table in tables):
            return self._parents[number][0]
        return writer.finish(tuple(self._part(writer, number, place) for place in range(len(slices))))

    def _part(self, writer: UnitWriter, unit: int, place: int) -> TablePart:
        index, first, end = UNITS[unit - 1][place]
        table = TABLES[index]
        numbers = range(first, table.count(changed=self.changed) if end is None else end)
        return TablePart(
            table_oid=table.facts.oid,
            pages_per_extent=table.width,
            extents=tuple(self._extent(writer, unit, place, number) for number in numbers),
        )

    def _extent(self, writer: UnitWriter, unit: int, place: int, number: int) -> Extent:
        index, first, _ = UNITS[unit - 1][place]
        table = TABLES[index]
        if self.changed and number < len(table.extents):
            document = self._parents[unit][1]
            before = document.parts[place].extents[number - first]
            layers = tuple(_later_layers(writer, table, number, before, document))
        else:
            fresh = table.layers(number, changed=self.changed)
            layers = tuple(Layer(chunk=chunk) for chunk in _chunks(writer, number * table.width, fresh))
        living = [row for rows in table.layers(number, changed=self.changed) for row in rows]
        return Extent(page=number * table.width, live=len(living), digest=_digest(living), layers=layers)

    def _plan(self) -> BackupPlan:
        kind: Literal["incremental", "full"] = "incremental" if self.changed else "full"
        slices = [
            tuple(
                TableSlice(
                    table=table,
                    first_extent=first,
                    extents=(TABLES[table].count(changed=self.changed) if end is None else end) - first,
                )
                for table, first, end in unit
            )
            for unit in UNITS
        ]
        return BackupPlan(
            format=FORMAT,
            id=self.id,
            kind=kind,
            backup_class="emergency" if self.changed else "scheduled",
            reason="there is none yet" if not self.changed else "the last backup is 6 hours old",
            source="quantforge",
            started_at=self.started_at,
            snapshot=_snapshot(self.started_at, 900 if self.changed else 750),
            tables=tuple(
                PlannedTable(
                    facts=table.facts,
                    pages_per_extent=table.width,
                    extents=table.count(changed=self.changed),
                    scratch_reason="" if self.changed else "the backup is a full one",
                )
                for table in TABLES
            ),
            units=tuple(
                PlannedUnit(number=number, slices=pieces, estimated_bytes=8192 * len(pieces))
                for number, pieces in enumerate(slices, 1)
            ),
            sequences=(
                SequenceState(
                    schema="public",
                    name="strategies_id_seq",
                    last_value=51,
                    is_called=True,
                    table="strategies",
                    column="id",
                ),
            ),
            parent=self.full or "",
            base=self.full or "",
            compress=not self.changed,
        )


def _snapshot(taken_at: dt.datetime, xmin: int) -> SnapshotFacts:
    return SnapshotFacts(
        system_identifier="7300000000000000001",
        timeline=1,
        database_oid=5,
        database="postgres",
        server_version=180000,
        xmin=xmin,
        xmax=xmin + 3,
        wal_lsn="0/3000028",
        taken_at=taken_at,
    )


def _collection(writer: UnitWriter, name: str, pieces: Rows) -> Collection:
    return Collection(name=name, chunks=tuple(writer.add_bytes(piece) for piece in pieces))


def _chunks(writer: UnitWriter, page: int, layers: Iterable[Rows], offset: int = 1) -> Iterable[Chunk]:
    """Write rows as chunks; their tuple ids go on from chunk to chunk, a hundred to a page."""
    done = 0
    for rows in layers:
        yield writer.add_rows(b"".join(rows), _tuple_ids(page, done, len(rows), offset))
        done += len(rows)


def _tuple_ids(page: int, first: int, count: int, offset: int) -> TupleIds:
    places = np.arange(first, first + count, dtype=np.uint64)
    pages = np.uint64(page) + places // np.uint64(100)
    return pages << np.uint64(16) | places % np.uint64(100) + np.uint64(offset)


def _later_layers(
    writer: UnitWriter, table: ScriptedTable, number: int, before: Extent, document: UnitDocument
) -> Iterable[Layer]:
    """Adopt the layers that still have living rows, with their dead ones, and add the rows that came."""
    change = table.changes.get(number)
    dead = change.dead if change else ((),) * len(before.layers)
    for layer, positions in zip(before.layers, dead, strict=True):
        if len(positions) < layer.chunk.rows:
            yield Layer(
                chunk=writer.adopt(layer.chunk, document),
                dead=encode_dead(np.array(positions, np.int64)),
                dead_rows=len(positions),
            )
    if change and change.added:
        for chunk in _chunks(writer, number * table.width, [change.added], offset=150):
            yield Layer(chunk=chunk)


def _digest(rows: Iterable[bytes]) -> str:
    """Stand in for the server's hash, which nothing but a server computes: also a sum, of signed 64 bits."""
    return str(sum(int.from_bytes(hashlib.sha256(row).digest()[:8], "big", signed=True) for row in rows))


# ----------------------------------------------------------------------------------------- the whole


def make_repository() -> Repository:
    """Return the golden repository as today's code writes it, in memory."""
    repository = Repository.create(
        MemoryStore(), golden_keyring(), FULL_AT, CountedRandom("golden repository")
    )
    ScriptedBackup(repository, ScriptedBackup(repository).write()).write()
    happen_afterwards(repository, CountedRandom("golden records"))
    return repository


def expected_files() -> dict[str, bytes]:
    """Return what a restore of each backup must give, in the form in which the stand-alone reader writes it."""
    found: dict[str, bytes] = {}
    random = {False: CountedRandom("golden full"), True: CountedRandom("golden incremental")}
    for changed, started_at in ((False, FULL_AT), (True, INCREMENTAL_AT)):
        backup = new_backup_id(started_at, random[changed](5))
        index = []
        for number, table in enumerate(TABLES):
            text = expected_rows(table, changed=changed)
            columns = [column.name for column in table.facts.columns if not column.generated]
            name = f"{number:04d}.copy"
            index.append(
                {
                    "schema": table.facts.schema,
                    "name": table.facts.name,
                    "columns": columns,
                    "rows": text.count(b"\n"),
                    "file": name,
                }
            )
            found[f"{backup}/{name}"] = text
        for name, pieces in collections(changed=changed).items():
            found[f"{backup}/collection-{name}"] = b"".join(pieces)
        found[f"{backup}/tables.json"] = json.dumps(index, indent=1, ensure_ascii=False).encode() + b"\n"
    return found


def objects_of(repository: Repository) -> dict[str, bytes]:
    """Return every object of a repository by name."""
    return {stored.name: repository.store.get(stored.name) for stored in repository.store.list()}


def files_under(folder: Path) -> dict[str, bytes]:
    """Return every file under a folder by its path within."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def stored_repository(objects: Mapping[str, bytes], keyring: Keyring | None = None) -> Repository:
    """Open a repository whose objects are given."""
    store = MemoryStore()
    for name, data in objects.items():
        store.create(name, data)
    return Repository.open(store, keyring or golden_keyring())


# ---------------------------------------------------------------------------------------- comparing


def differences(stored: Mapping[str, bytes], fresh: Repository, *, same_zstd: bool) -> list[str]:
    """Name everything in which the checked-in repository is not what today's code writes."""
    old = stored_repository(stored)
    wrong = _different_keys(old, fresh)
    if not same_zstd:
        ours, theirs = decoded(fresh), decoded(old)
        return wrong + [name for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name)]
    written = objects_of(fresh)
    names = {name for name in {*stored, *written} if not name.startswith("keys/")}
    return wrong + sorted(name for name in names if stored.get(name) != written.get(name))


def _different_keys(old: Repository, fresh: Repository) -> list[str]:
    """Name the sealed forms that only one repository has, or that are sealed to others or hold another key."""
    names = [{stored.name for stored in repo.store.list("keys/")} for repo in (old, fresh)]
    same = names[0] & names[1]
    return sorted({*(names[0] ^ names[1]), *(n for n in same if _opened(old, n) != _opened(fresh, n))})


def _opened(repository: Repository, name: str) -> dict[str, bytes]:
    """Return what a sealed form holds for each of its recipients."""
    form = key_form(name)
    assert form is not None
    sealed = repository.data_keys.read_form(form)
    privates = {str(key.key_id): key for key in golden_keyring().recovery_privates()}
    return {one: open_data_key(sealed, privates[one], form.data_key) for one in sealed.recipients}


def decoded(repository: Repository) -> dict[str, Any]:
    """Return all that a repository says, without what depends on how well something was compressed."""
    found: dict[str, Any] = {"repository.json": msgspec.to_builtins(repository.info)}
    for stored in repository.store.list("recovery-keys/"):
        number = key_set_number(stored.name)
        found[stored.name] = msgspec.to_builtins(repository.data_keys.read_set(number))
    for kind in RECORDS:
        for name in repository.record_names(kind.FOLDER):
            found[name] = msgspec.to_builtins(repository.read_record(kind, name))
    for backup in repository.backup_ids():
        manifest = repository.read_manifest(backup)
        said = _unpacked(msgspec.to_builtins(manifest))
        said["packs"].sort(key=str)
        found[f"manifests/{backup}"] = said
        found[f"attempts/{backup}"] = msgspec.to_builtins(repository.read_plan(backup))
        for number, reference in enumerate(manifest.documents):
            document = repository.read_unit_document(reference)
            found[f"tables/{backup}/{number}"] = {
                "document": _unpacked(msgspec.to_builtins(document)),
                "payloads": [_payload_digest(repository, document, chunk) for chunk in chunks_of(document)],
                "row maps": [
                    [ids.tolist() for ids in repository.read_row_maps(ref)] for ref in document.row_maps
                ],
            }
    return found


def chunks_of(document: UnitDocument) -> list[Chunk]:
    """Return every chunk that a unit document names."""
    rows = [layer.chunk for part in document.parts for extent in part.extents for layer in extent.layers]
    return rows + [chunk for collection in document.collections for chunk in collection.chunks]


def _payload_digest(repository: Repository, document: UnitDocument, chunk: Chunk) -> str:
    return hashlib.sha256(ChunkReader(repository).payload(chunk, document)).hexdigest()


def _unpacked(said: Any) -> Any:
    """Leave out names, sizes and places that follow from compressed bytes."""
    if isinstance(said, list | tuple):
        return [_unpacked(each) for each in said]
    if not isinstance(said, dict):
        return said
    left_out = {"name", "size", "sha256"} if "sha256" in said else {"offset", "stored", "bytes_stored"}
    return {key: _unpacked(value) for key, value in said.items() if key not in left_out}


def restored(repository: Repository, backup: str) -> dict[str, bytes]:
    """Return the rows and collections of a backup, under the names of the expected files."""
    manifest = repository.read_manifest(backup)
    documents = [repository.read_unit_document(reference) for reference in manifest.documents]
    reader = ChunkReader(repository)
    found = {}
    for number, entry in enumerate(manifest.tables):
        parts = [(documents[p.document], documents[p.document].parts[p.part]) for p in entry.parts]
        layers = [(x, doc) for doc, part in parts for extent in part.extents for x in extent.layers]
        found[f"{number:04d}.copy"] = b"".join(reader.rows(layer, document)[0] for layer, document in layers)
    for reference in manifest.collections:
        content = b"".join(read_collection(repository, manifest, reference.name))
        found[f"collection-{reference.name}"] = content
    return found


def expected(folder: Path, backup: str) -> dict[str, bytes]:
    """Return what is checked in for a backup, without the index."""
    files = files_under(folder / EXPECTED / backup)
    del files["tables.json"]
    return files


def not_restored(folder: Path) -> list[str]:
    """Restore the backups of an earlier format; name the files that do not come back byte for byte."""
    repository = stored_repository(files_under(folder / REPOSITORY))
    wrong = []
    for backup in sorted(path.name for path in (folder / EXPECTED).iterdir()):
        there, wanted = restored(repository, backup), expected(folder, backup)
        names = sorted(name for name in {*there, *wanted} if there.get(name) != wanted.get(name))
        wrong += [f"{folder.name}/{EXPECTED}/{backup}/{name}" for name in names]
    return wrong


def verify() -> list[str]:
    """Compare what is checked in with what today's code writes and reads; return what is wrong."""
    made_with = json.loads((FOLDER / MADE_WITH).read_bytes())
    same_zstd: bool = made_with["zstd"] == list(zstandard.ZSTD_VERSION)
    wrong = differences(files_under(FOLDER / REPOSITORY), make_repository(), same_zstd=same_zstd)
    for part, made in ((KEYS, key_files(golden_keyring())), (EXPECTED, expected_files())):
        there = files_under(FOLDER / part)
        wrong += sorted(f"{part}/{name}" for name in {*there, *made} if there.get(name) != made.get(name))
    return wrong + [name for folder in EARLIER for name in not_restored(folder)]


def write() -> None:
    """Write the golden files anew; a sealed data key that is there and still good stays."""
    repository = make_repository()
    objects = objects_of(repository)
    before = files_under(FOLDER / REPOSITORY)
    if before:
        spoiled = _different_keys(stored_repository(before), repository)
        objects |= {n: d for n, d in before.items() if n.startswith("keys/") and n not in spoiled}
    shutil.rmtree(FOLDER, ignore_errors=True)
    made_with = json.dumps({"zstd": list(zstandard.ZSTD_VERSION)}).encode() + b"\n"
    parts = {REPOSITORY: objects, KEYS: key_files(golden_keyring()), EXPECTED: expected_files()}
    files = {f"{part}/{name}": data for part, named in parts.items() for name, data in named.items()}
    for name, data in {**files, MADE_WITH: made_with}.items():
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    print(f"wrote {len(files) + 1} files, {sum(map(len, files.values()))} bytes")


def main() -> int:
    """Write or verify."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--verify", action="store_true", help="compare instead of writing")
    if not parser.parse_args().verify:
        write()
        return 0
    wrong = verify()
    for name in wrong:
        print(f"differs: {name}")
    good = f"the golden repository is what this code writes, and it reads {len(EARLIER)} of earlier formats"
    print(f"{len(wrong)} differences" if wrong else good)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
