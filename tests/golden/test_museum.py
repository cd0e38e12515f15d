"""Broken repositories: each is refused, by the engine with the declared kind of failure, by the second reader too."""

import pytest

from strongroom.deadline import Deadline
from strongroom.errors import StrongroomError
from strongroom.repository.chunks import ChunkReader
from strongroom.repository.repository import Repository
from strongroom.verification.verification import Verification
from tests.golden.afterwards import RECORDS
from tests.golden.make_golden import FOLDER, KEYS, PASSPHRASE, REPOSITORY, files_under, stored_repository
from tests.golden.museum import EXHIBITS, Broken, Exhibit
from tests.golden.reader import Keys, Reader, Refused


def _parts(name: str) -> list[str]:
    """Cut an exhibit's name into words, and `recovery-keys` counts as one."""
    return name.replace("recovery-keys", "recoverykeys").split("-")


BACKUP = Broken(files_under(FOLDER / REPOSITORY)).backup
# Nothing that a backup consists of: the plan serves who takes an attempt over, row maps the next backup.
NOT_FOR_READERS = {
    "missing-plan",
    "flipped-bit-in-plan",
    "missing-row-map",
    "flipped-bit-in-row-map",
    "truncated-row-map",
    "row-map-that-ends-too-soon",
    "row-map-of-another-chunk",
}
# Sets of recovery keys and records: no backup consists of them, so the verification of one does not read them.
BESIDE_BACKUPS = {
    exhibit.name
    for exhibit in EXHIBITS
    if {"recoverykeys", "hold", "acceptance", "verification", "garbage", "recovery", "drill"}
    & set(_parts(exhibit.name))
}
NOT_FOR_VERIFICATION = {"missing-plan", "flipped-bit-in-plan"} | BESIDE_BACKUPS
# A new field or value is a new format, so a reader of this one need not look for any; the engine does.
LENIENT = {
    "manifest-with-unknown-field",
    "data-key-with-unknown-field",
    "recovery-keys-with-unknown-field",
    "hold-with-unknown-field",
    "hold-of-unknown-action",
    "garbage-with-half-an-entry",
    "recovery-with-unknown-field",
    "recovery-with-unknown-field-in-its-plan",
    "recovery-with-unknown-outcome",
    "recovery-by-unknown-strategy",
    "drill-with-unknown-field",
}


@pytest.fixture(scope="module")
def keys() -> Keys:
    """Load the keys of the second reader once: the passphrase is stretched on purpose."""
    return Keys.load(FOLDER / KEYS, PASSPHRASE)


def test_no_exhibit_has_the_name_of_another() -> None:
    """Nor is one exempted from a test under a name that no exhibit has."""
    names = [exhibit.name for exhibit in EXHIBITS]
    assert len(names) == len(set(names))
    assert set(names) >= NOT_FOR_READERS | NOT_FOR_VERIFICATION | LENIENT


def broken_by(exhibit: Exhibit) -> dict[str, bytes]:
    """Return the objects of a broken repository."""
    broken = Broken(files_under(FOLDER / REPOSITORY))
    exhibit.damage(broken)
    return broken.objects


def read_everything(objects: dict[str, bytes]) -> Repository:
    """Read all that there is of the incremental, and beside it: recovery keys and records."""
    repository = stored_repository(objects)
    manifest = repository.read_manifest(BACKUP)
    repository.read_plan(BACKUP)
    reader = ChunkReader(repository)
    for document in [repository.read_unit_document(reference) for reference in manifest.documents]:
        for reference in document.row_maps:
            repository.read_row_maps(reference)
        for layer in [x for part in document.parts for extent in part.extents for x in extent.layers]:
            reader.rows(layer, document)
        for collection in document.collections:
            assert b"".join(reader.collection(collection, document)) is not None
    repository.recovery_key_set()
    for kind in RECORDS:
        assert list(repository.read_records(kind))
    return repository


def read_with_second_reader(objects: dict[str, bytes], keys: Keys) -> None:
    """Read all rows, collections, recovery keys and records with the stand-alone reader."""

    def get(name: str) -> bytes:
        if name not in objects:
            raise FileNotFoundError(name)
        return objects[name]

    reader = Reader(get, objects, keys, BACKUP)
    for entry in reader.manifest["tables"]:
        assert b"".join(reader.rows(entry)) is not None
    for reference in reader.manifest["collections"]:
        reader.collection(reference)
    assert reader.recovery_keys()
    for kind in RECORDS:
        assert reader.records(kind.KIND)


def findings_in(objects: dict[str, bytes]) -> set[str]:
    """Return the codes of all that verification finds in the incremental, an error that ends it included."""
    try:
        repository = stored_repository(objects)
        manifest = repository.read_manifest(BACKUP)
    except StrongroomError as error:
        return {error.code}
    work = Verification(repository, manifest, Deadline.never(), lambda _done, _total: None)
    work.check_structure()
    work.check_content()
    return {finding.code for finding in work.findings}


def test_the_museum_begins_whole(keys: Keys) -> None:
    """Undamaged, the repository reads and verifies: what fails below fails for its one reason."""
    objects = files_under(FOLDER / REPOSITORY)
    read_everything(objects)
    read_with_second_reader(objects, keys)
    assert set() == findings_in(objects)


def test_a_replaced_chunk_is_otherwise_whole(keys: Keys) -> None:
    """A pack that was sealed anew around the same rows is a good one."""
    broken = Broken(files_under(FOLDER / REPOSITORY))
    rows = b"5\t185.6\n700\tNaN\n701\t-0.0\n"
    broken.seal_chunk(0, 1, len(rows), rows)
    read_everything(broken.objects)
    read_with_second_reader(broken.objects, keys)
    assert set() == findings_in(broken.objects)


def test_exhibits_that_write_anew_are_otherwise_whole(keys: Keys) -> None:
    """Writing unit document and manifest again, unchanged, leaves a good repository."""
    broken = Broken(files_under(FOLDER / REPOSITORY))
    broken.change_repository()
    broken.change_pack(lambda _data: None)
    broken.write_manifest(reason="another")
    read_everything(broken.objects)
    read_with_second_reader(broken.objects, keys)
    assert set() == findings_in(broken.objects)


@pytest.mark.parametrize("exhibit", [e for e in EXHIBITS if e.kind != "disagreement"], ids=lambda e: e.name)
def test_a_broken_repository_is_refused(exhibit: Exhibit) -> None:
    """Reading raises the declared error, and no other."""
    with pytest.raises(StrongroomError) as raised:
        read_everything(broken_by(exhibit))
    assert exhibit.kind is raised.type


@pytest.mark.parametrize(
    "exhibit",
    [
        pytest.param(exhibit, id=exhibit.name)
        for exhibit in EXHIBITS
        if exhibit.name not in NOT_FOR_VERIFICATION
    ],
)
def test_a_broken_repository_never_verifies(exhibit: Exhibit) -> None:
    """Verification names the declared kind, or the disagreement of documents that is behind it."""
    code = exhibit.kind if isinstance(exhibit.kind, str) else exhibit.kind.code
    assert {code, "disagreement"} & findings_in(broken_by(exhibit))


@pytest.mark.parametrize(
    "exhibit", [e for e in EXHIBITS if e.name not in NOT_FOR_READERS | LENIENT], ids=lambda e: e.name
)
def test_the_second_reader_refuses_too(exhibit: Exhibit, keys: Keys) -> None:
    """What docs/format.md asks of a reader is enough to notice every one of them."""
    with pytest.raises((Refused, FileNotFoundError)):
        read_with_second_reader(broken_by(exhibit), keys)


@pytest.mark.parametrize(
    "exhibit", [e for e in EXHIBITS if e.name in NOT_FOR_READERS | LENIENT], ids=lambda e: e.name
)
def test_what_the_second_reader_does_not_need(exhibit: Exhibit, keys: Keys) -> None:
    """It restores a backup whose plan or row maps are broken: rows do not depend on them."""
    read_with_second_reader(broken_by(exhibit), keys)
