"""The damage that a mutation drill does: to copies only, noticed for what it is, and never by a blind check."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from strongroom.children import hold_in_child
from strongroom.config import Settings
from strongroom.deadline import Deadline
from strongroom.drill.copying import PRISTINE, damageable
from strongroom.drill.damage import DAMAGES, Damage, Trace, notice
from strongroom.drill.database_damage import DATABASE_DAMAGES, notice_in_database
from strongroom.format.documents import Finding
from strongroom.operations.context import Context
from strongroom.operations.drill_messages import DamageCopyReport, DamageReport, HoldDamageCopy, TryDamage
from strongroom.operations.hold_damage_copy import hold_damage_copy
from strongroom.operations.messages import Message
from strongroom.operations.try_damage import try_damage
from strongroom.repository import layout, locations
from strongroom.stores.memory import MemoryStore
from strongroom.stores.open import open_store
from strongroom.verification.verification import Verification
from tests.places import Places
from tests.row_backups import Keys

names = [damage.name for damage in DAMAGES]


@pytest.fixture
def places(tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> Places:
    """Make a repository in memory with two backups; what is below a temporary folder is opened as it is."""
    made = Places.make(tmp_path, keys, monkeypatch, {"local": "local", "archive": "archive"})

    def opened(url: str, *options: Any) -> object:
        return made.stores.get(url.rpartition("/")[2]) or open_store(url, *options)

    monkeypatch.setattr(locations, "open_store", opened)
    made.back_up("full")
    made.back_up()
    made.replicate("archive")
    return made


def with_copy(places: Places, backup: str, work: Callable[[DamageCopyReport], None]) -> None:
    """Hold a copy of a backup, and work with it."""
    held: list[Message] = []

    def hold() -> None:
        report = held[-1]
        assert isinstance(report, DamageCopyReport)
        work(report)

    context = Context(
        Deadline.after(60, "test"), clock=places.clock, announce=held.append, wait_for_release=hold
    )
    hold_damage_copy(places.settings, HoldDamageCopy(backup=backup), context)


def tried(places: Places, copy: DamageCopyReport, backup: str, damage: str) -> DamageReport:
    """Damage a copy in one way."""
    request = TryDamage(backup=backup, folder=copy.folder, older=copy.older, damage=damage)
    return try_damage(places.settings, request, places.context())


def contents(places: Places) -> dict[str, dict[str, bytes]]:
    """Return every object of every location."""
    return {
        place: {stored.name: store.get(stored.name) for stored in store.list()}
        for place, store in places.stores.items()
    }


def test_every_damage_is_noticed_and_the_undamaged_copy_passes(places: Places) -> None:
    """Each by the check that it is meant for; the repository is what it was, and the copy is gone."""
    newest = places.listed("local")[-1]
    before = contents(places)
    folders: list[Path] = []

    def work(copy: DamageCopyReport) -> None:
        folders.append(Path(copy.folder))
        assert (places.listed("local")[0], False) == (copy.older, copy.is_made_up)
        control = tried(places, copy, newest, "")
        assert ("verify content: passed", ()) == (control.outcome.noticed_by, control.findings)
        found = {name: tried(places, copy, newest, name) for name in names}
        assert [] == [(name, report.outcome) for name, report in found.items() if not report.noticed]
        assert {"other-keys", PRISTINE} == {path.name for path in Path(copy.folder).iterdir()}

    with_copy(places, newest, work)
    assert before == contents(places)
    assert [False] == [folder.exists() for folder in folders]


def test_a_repository_with_one_backup_gets_an_older_manifest_for_the_copy(places: Places) -> None:
    """It is made and signed in the copy only, and standing in the place of the other it is noticed."""
    first, only = places.listed("local")
    for store in places.stores.values():
        store.delete(layout.manifest_name(first))

    def work(copy: DamageCopyReport) -> None:
        assert copy.is_made_up
        assert copy.older < only
        assert tried(places, copy, only, "older-manifest").noticed

    with_copy(places, only, work)
    assert [only] == places.listed("local")


@pytest.mark.parametrize("damage", DAMAGES, ids=names)
def test_a_check_that_is_blind_is_found_out(
    places: Places, monkeypatch: pytest.MonkeyPatch, damage: Damage
) -> None:
    """If verification finds nothing, or something else, nothing has noticed."""
    newest = places.listed("local")[-1]

    def blind(self: Verification) -> None:
        self.findings.append(Finding(severity="critical", code="SR-0699", object="a thing", observed="odd"))

    def work(copy: DamageCopyReport) -> None:
        monkeypatch.setattr(Verification, "check_structure", blind)
        monkeypatch.setattr(Verification, "check_content", lambda _: None)
        report = tried(places, copy, newest, damage.name)
        # A manifest that cannot be believed is never given to a verification.
        assert report.noticed == damage.name.endswith("-manifest")
        if not report.noticed:
            assert "found only SR-0699 at a thing" in report.outcome.observed

    with_copy(places, newest, work)


def test_damage_at_another_location_does_not_hide_in_the_copy(places: Places) -> None:
    """What is damaged at the nearest location is copied from the next one: the copy begins whole."""
    newest = places.listed("local")[-1]
    store = places.stores["local"]
    assert isinstance(store, MemoryStore)
    pack = next(stored.name for stored in store.list(layout.PACKS))
    store.tamper(pack, lambda data: data[:-1] + bytes([data[-1] ^ 1]))

    def work(copy: DamageCopyReport) -> None:
        assert tried(places, copy, newest, "").noticed

    with_copy(places, newest, work)


def test_a_state_that_is_damaged_leaves_the_copy_alone(tmp_path: Path) -> None:
    """Its files are links, and a store never writes into a file: the other states see nothing."""
    original = tmp_path / PRISTINE / "packs" / "00"
    original.mkdir(parents=True)
    (original / "pack").write_bytes(b"as it was")
    with damageable(tmp_path, "one") as place:
        assert b"as it was" == place.store.get("packs/00/pack")
        place.store.delete("packs/00/pack")
        place.store.create("packs/00/pack", b"damaged")
    assert b"as it was" == (original / "pack").read_bytes()
    assert [PRISTINE] == [path.name for path in tmp_path.iterdir()]


def test_the_copy_is_gone_when_its_process_is_told_to_end(tmp_path: Path, keys: Keys) -> None:
    """Whoever ends the drill leaves no folder behind."""
    settings, backup = _stored(tmp_path, keys)
    request = HoldDamageCopy(backup=backup)
    with (
        pytest.raises(KeyError, match="the drill ends"),
        hold_in_child(
            "hold_damage_copy", settings, request, DamageCopyReport, deadline=Deadline.after(60, "test")
        ) as copy,
    ):
        folder = Path(copy.folder)
        assert folder.is_dir()
        raise KeyError("the drill ends")
    assert not folder.exists()


def _stored(folder: Path, keys: Keys) -> tuple[Settings, str]:
    """Make a repository of one backup in a folder, with a child's settings."""
    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        made = Places.make(folder, keys, patched, {"local": "local"})
        backup = made.back_up("full")
    for stored in made.stores["local"].list():
        path = folder / "local" / stored.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made.stores["local"].get(stored.name))
    return made.settings, backup


# ------------------------------------------------------------------------------------------- noticing

WRONG = Finding(severity="critical", code="SR-0603", object="packs/00/abc", observed="other bytes")


def test_noticing_needs_code_object_and_weight() -> None:
    """A finding of another code, about another object, or of no weight, is no notice."""
    damage, trace = DAMAGES[0], Trace("packs/00/abc", "flipped")
    assert "verify structure: SR-0603" == notice(damage, trace, [WRONG])
    for other in ({"code": "SR-0601"}, {"object": "packs/00/abcd"}, {"severity": "warning"}):
        assert "" == notice(damage, trace, [msgspec.structs.replace(WRONG, **other)])


def test_a_chunk_of_a_pack_is_of_the_pack() -> None:
    """Content verification names the chunk behind its pack."""
    chunk = msgspec.structs.replace(WRONG, object="packs/00/abc chunk 3")
    assert notice(DAMAGES[0], Trace("packs/00/abc", "flipped"), [chunk])


def test_the_suites_notice_only_what_is_new() -> None:
    """What was wrong before the damage, or is wrong elsewhere, proves nothing."""
    damage, trace = DATABASE_DAMAGES[0], Trace("public.trades", "emptied")
    found = Finding(
        severity="critical", code="integrity-row-count", object="public.trades", expected="9", observed="0"
    )
    assert "integrity suites: integrity-row-count" == notice_in_database(damage, trace, [], [found])
    assert "" == notice_in_database(damage, trace, [found], [found])
    for other in ({"object": "public.trades2"}, {"code": "integrity-own"}, {"severity": "warning"}):
        assert "" == notice_in_database(damage, trace, [], [msgspec.structs.replace(found, **other)])


def test_names_of_damage_are_their_own() -> None:
    """Names are what the evidence is read by: no two kinds share one."""
    every = [*names, *(damage.name for damage in DATABASE_DAMAGES)]
    assert len(set(every)) == len(every)
