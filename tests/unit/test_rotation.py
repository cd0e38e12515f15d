"""Rotation of recovery keys: no data key is ever without somebody who opens it, and retired keys open nothing."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import pytest

from strongroom.crypto.keyring import Keyring
from strongroom.crypto.recovery_keys import RecoveryPrivateKey, RecoveryPublicKey
from strongroom.errors import (
    ForeignRecoveryKeys,
    ForgedSignature,
    LeaseLost,
    NotARecipient,
    RecoveryKeyInUse,
    RecoveryKeysRetired,
    RetirementUnclear,
    StoreUnavailable,
    StrongroomError,
    TamperedDataKey,
)
from strongroom.format.documents import FORMAT, RecoveryKeySet
from strongroom.repository import layout
from strongroom.repository.data_keys import superseded_forms
from strongroom.repository.repository import Repository
from strongroom.repository.rotation import RotationOutcome, execute_rotation
from strongroom.repository.rotation_plan import choose_recovery_keys, plan_rotation
from strongroom.repository.signed import signed
from strongroom.stores.faulty import Fault, FaultKind, FaultyStore
from strongroom.stores.memory import MemoryStore
from strongroom.stores.nearest import NearestStore
from strongroom.stores.protocol import Store
from strongroom.stores.recording import Operation, RecordingStore, replay
from tests.documents import BACKUP, NOON, memory_repository
from tests.hooked_store import HookedStore

OLD = RecoveryPrivateKey.generate(os.urandom)
NEW = RecoveryPrivateKey.generate(os.urandom)
SECOND = "20261124-034500000-9f3a61c2d4"


def sealed_to(*keys: RecoveryPrivateKey) -> tuple[RecoveryPublicKey, ...]:
    """Return public halves."""
    return tuple(key.public() for key in keys)


class Room:
    """A repository that was made for the old key, what its data keys are, and the people around it."""

    def __init__(self, store: Store | None = None, count: int = 3) -> None:
        made = memory_repository()
        self.keyring = replace(made.keyring, recovery_public=sealed_to(OLD), recovery_private=OLD)
        self.repository = Repository.create(store or MemoryStore(), self.keyring, NOON, os.urandom)
        self.data_keys = dict(self.repository.new_data_key(BACKUP, os.urandom) for _ in range(count))

    def open(
        self, store: Store, *keys: RecoveryPrivateKey, seals_to: Sequence[RecoveryPrivateKey] = ()
    ) -> Repository:
        """Open the repository of a store as somebody who has these private keys, and seals to others."""
        return Repository.open(store, self._keyring(keys, seals_to))

    def _keyring(self, keys: Sequence[RecoveryPrivateKey], seals_to: Sequence[RecoveryPrivateKey]) -> Keyring:
        return replace(
            self.keyring,
            recovery_private=keys[0] if keys else None,
            further_private=tuple(keys[1:]),
            recovery_public=sealed_to(*seals_to),
        )

    def opens_all(self, store: Store, key: RecoveryPrivateKey) -> bool:
        """Tell whether a key opens every data key, to what it was."""
        repository = self.open(store, key)
        try:
            return self.data_keys == {key_id: repository.data_key(key_id) for key_id in self.data_keys}
        except NotARecipient:
            return False

    def retire(self, store: Store) -> None:
        """Carry out a whole retirement of the old key."""
        rotate(self.open(store, OLD), to=(NEW,), retire=True)

    def opens_none(self, store: Store, key: RecoveryPrivateKey) -> bool:
        """Tell whether a key opens no data key at all."""
        repository = self.open(store, key)
        for key_id in self.data_keys:
            try:
                repository.data_key(key_id)
            except NotARecipient:
                continue
            return False
        return True


def rotate(*repositories: Repository, to: Sequence[RecoveryPrivateKey], retire: bool) -> RotationOutcome:
    """Plan and execute."""
    plan = plan_rotation(repositories, sealed_to(*to), retire=retire)
    return execute_rotation(plan, repositories, NOON)


def names(store: Store, prefix: str = "") -> list[str]:
    """List the names of objects."""
    return [stored.name for stored in store.list(prefix)]


# ------------------------------------------------------------------------------------- the two kinds


def test_an_added_key_opens_everything_beside_the_old_one() -> None:
    """Without retirement both keys open all data keys, and the earlier forms stay."""
    room = Room()
    store = room.repository.store
    outcome = rotate(room.repository, to=(OLD, NEW), retire=False)
    assert (1, 3, 3, 0) == (outcome.number, outcome.data_keys, outcome.resealed, outcome.deleted)
    assert room.opens_all(store, OLD)
    assert room.opens_all(store, NEW)
    assert 6 == len(names(store, layout.KEYS))


def test_a_retired_key_opens_nothing() -> None:
    """After retirement the new key alone opens everything, and no older form is left."""
    room = Room()
    store = room.repository.store
    outcome = rotate(room.repository, to=(NEW,), retire=True)
    assert (3, 3) == (outcome.resealed, outcome.deleted)
    assert room.opens_all(store, NEW)
    assert room.opens_none(store, OLD)
    assert [layout.KeyForm(key_id, 1).name for key_id in sorted(room.data_keys)] == names(store, layout.KEYS)


def test_nobody_takes_it_for_proven_that_an_absent_key_opens() -> None:
    """Where the new private key is elsewhere, the outcome says that nothing was opened with it."""
    room = Room()
    store = room.repository.store
    added = rotate(room.repository, to=(OLD, NEW), retire=False)
    assert ((OLD.key_id,), [("info", f"recovery key {NEW.key_id}")]) == (
        added.proven,
        [(one.severity, one.object) for one in added.findings],
    )
    alone = rotate(room.open(store, OLD), to=(NEW,), retire=True)
    assert ((), ["warning"]) == (alone.proven, [one.severity for one in alone.findings])
    other = Room()
    proven = rotate(other.open(other.repository.store, OLD, NEW), to=(NEW,), retire=True)
    assert ((NEW.key_id,), ()) == (proven.proven, proven.findings)


def test_rotating_in_two_steps_and_back() -> None:
    """Added, then alone, then back to the first key: the numbers go on, and what is retired follows."""
    room = Room()
    store = room.repository.store
    both = room.open(store, OLD, NEW)
    rotate(both, to=(OLD, NEW), retire=False)
    rotate(both, to=(NEW,), retire=True)
    assert room.opens_none(store, OLD)
    outcome = rotate(both, to=(OLD,), retire=True)
    assert 3 == outcome.number
    assert room.opens_all(store, OLD)
    assert room.opens_none(store, NEW)
    newest = both.recovery_key_set()
    assert ((OLD.key_id,), (NEW.key_id,)) == (newest.recovery_keys, newest.retired)


def test_a_second_run_finds_nothing_to_do() -> None:
    """A rotation that is through plans nothing more."""
    room = Room()
    rotate(room.repository, to=(NEW,), retire=True)
    both = room.open(room.repository.store, OLD, NEW)
    assert plan_rotation([both], sealed_to(NEW), retire=True).is_empty
    assert plan_rotation([both], sealed_to(NEW), retire=False).is_empty


# ------------------------------------------------------------------------------------- interruptions


def changes_of_rotation(retire: bool) -> tuple[Room, MemoryStore, Sequence[Operation]]:
    """Rotate over a recording; return the room, what was there before, and the changes."""
    recording = RecordingStore(MemoryStore())
    room = Room(recording)
    before = replay(recording.changes(), len(recording.changes()))
    done = len(recording.changes())
    rotate(room.repository, to=(NEW,) if retire else (OLD, NEW), retire=retire)
    return room, before, recording.changes()[done:]


@pytest.mark.parametrize("retire", [False, True])
def test_cut_off_anywhere_everything_stays_readable(retire: bool) -> None:
    """The old key opens all until the first form is deleted, and from then on the new one does (I7)."""
    room, before, changes = changes_of_rotation(retire)
    deletes = [place for place, change in enumerate(changes) if change.kind == "delete"]
    assert (3 if retire else 0) == len(deletes)
    last_of_old = deletes[0] if deletes else len(changes)
    for count in range(len(changes) + 1):
        store = replay(changes, count, before)
        assert (count <= last_of_old) == room.opens_all(store, OLD)
        if deletes and count >= last_of_old:
            assert room.opens_all(store, NEW)


@pytest.mark.parametrize("retire", [False, True])
def test_cut_off_anywhere_a_second_run_converges(retire: bool) -> None:
    """Whatever the first run left, the next one ends where an undisturbed one does."""
    room, before, changes = changes_of_rotation(retire)
    for count in range(len(changes) + 1):
        store = replay(changes, count, before)
        rotate(room.open(store, OLD), to=(NEW,) if retire else (OLD, NEW), retire=retire)
        assert room.opens_all(store, NEW)
        assert retire == room.opens_none(store, OLD)
        assert 1 == room.open(store).recovery_key_set().number
        assert names(replay(changes, len(changes), before)) == names(store)


def test_nothing_is_superseded_before_every_data_key_is_through() -> None:
    """Half a retirement gives a retention run nothing to delete: the old key may be all that opens the rest."""
    room, before, changes = changes_of_rotation(retire=True)
    counts = [
        len(superseded_forms(room.open(replay(changes, n, before)).data_keys))
        for n in range(len(changes) + 1)
    ]
    assert [0, 0, 0, 0, 3, 2, 1, 0] == counts


@pytest.mark.parametrize("kind", [FaultKind.ERROR_BEFORE, FaultKind.ERROR_AFTER])
@pytest.mark.parametrize("call", ["put", "create", "delete"])
def test_a_store_that_fails_ends_the_run_and_harms_nothing(call: str, kind: FaultKind) -> None:
    """Each change fails once, before or after it took effect; a second run converges all the same."""
    for nth in range(1, 2 if call == "create" else 4):
        room = Room()
        store = room.repository.store
        faulty = FaultyStore(store, [Fault(call, nth, kind)])
        with pytest.raises(StrongroomError):
            rotate(room.open(faulty, OLD), to=(NEW,), retire=True)
        faulty.assert_all_hit()
        assert room.opens_all(store, OLD) or room.opens_all(store, NEW)
        rotate(room.open(store, OLD), to=(NEW,), retire=True)
        assert room.opens_all(store, NEW)
        assert room.opens_none(store, OLD)


def test_a_right_that_was_lost_ends_the_run_before_the_next_change() -> None:
    """`check` is asked before every change; where it raises, everything is as the old key left it."""
    for allowed in range(4):
        room = Room()
        asked: list[int] = []

        def check(asked: list[int] = asked, allowed: int = allowed) -> None:
            asked.append(1)
            if len(asked) > allowed:
                raise LeaseLost(what="rotation")

        plan = plan_rotation([room.repository], sealed_to(NEW), retire=True)
        with pytest.raises(LeaseLost):
            execute_rotation(plan, [room.repository], NOON, check)
        assert room.opens_all(room.repository.store, OLD)


# ------------------------------------------------------------------------------------------- workers


def test_a_worker_with_a_retired_key_only_is_refused() -> None:
    """It is told what became of its key, and writes nothing."""
    room = Room()
    store = room.repository.store
    rotate(room.repository, to=(NEW,), retire=True)
    before = names(store)
    with pytest.raises(RecoveryKeysRetired) as caught:
        room.open(store, seals_to=(OLD,)).new_data_key(SECOND, os.urandom)
    assert (OLD.key_id in str(caught.value), NEW.key_id in str(caught.value)) == (True, True)
    assert before == names(store)


def test_a_worker_seals_to_what_is_current_of_its_directory() -> None:
    """A retired key that is still in the directory is left out, an unknown one is refused."""
    room = Room()
    store = room.repository.store
    rotate(room.repository, to=(NEW,), retire=True)
    key_id, data_key = room.open(store, seals_to=(OLD, NEW)).new_data_key(SECOND, os.urandom)
    assert data_key == room.open(store, NEW).data_key(key_id)
    with pytest.raises(NotARecipient):
        room.open(store, OLD).data_key(key_id)
    with pytest.raises(ForeignRecoveryKeys):
        room.open(store, seals_to=(NEW, RecoveryPrivateKey.generate(os.urandom))).new_data_key(
            SECOND, os.urandom
        )


def make_when(room: Room, made: dict[str, bytes], outcomes: list[str], store: Store) -> Callable[[], None]:
    """Return a worker that has the old key only, and makes a data key when it is called."""

    def work() -> None:
        try:
            key_id, data_key = room.open(store, seals_to=(OLD,)).new_data_key(SECOND, os.urandom)
        except RecoveryKeysRetired:
            outcomes.append("refused")
        else:
            outcomes.append("made")
            made[key_id] = data_key

    return work


def test_a_data_key_that_is_made_during_a_rotation_is_not_missed() -> None:
    """Before any call of a retirement a worker makes a data key: it is refused, or the new key opens what it made."""
    seen: set[str] = set()
    for nth in range(1, 60):
        room = Room(count=2)
        store = room.repository.store
        outcomes: list[str] = []
        hooked = HookedStore(store)
        hooked.before(nth, make_when(room, room.data_keys, outcomes, store))
        repository = room.open(hooked, OLD)
        plan = plan_rotation([room.open(store, OLD)], sealed_to(NEW), retire=True)
        execute_rotation(plan, [repository], NOON)
        if not outcomes:
            break
        seen |= set(outcomes)
        assert room.opens_all(store, NEW)
        assert room.opens_none(store, OLD)
    else:
        pytest.fail("the rotation never came to its end")
    assert {"made", "refused"} == seen


def test_a_rotation_that_comes_while_a_data_key_is_made_is_not_missed() -> None:
    """Before any call of the making, a whole retirement happens: what was made stays sealed to no retired key."""
    outcomes: list[str] = []
    for nth in range(1, 20):
        room = Room(count=1)
        store = room.repository.store
        hooked = HookedStore(store)
        hooked.before(nth, partial(room.retire, store))
        worker = room.open(store, seals_to=(OLD,))
        worker.data_keys.store = hooked
        try:
            key_id, data_key = worker.new_data_key(SECOND, os.urandom)
        except RecoveryKeysRetired:
            outcomes.append("refused")
        else:
            outcomes.append("made")
            room.data_keys[key_id] = data_key
        if hooked.calls < nth:
            break
        assert room.opens_all(store, NEW)
        assert room.opens_none(store, OLD)
        # What was made and not used stays only where the rotation has sealed it anew meanwhile.
        assert (1 if nth < 3 else 2) == len(room.repository.data_keys.forms())
    else:
        pytest.fail("the making never came to its end")
    # At each of its three calls; the fourth rotation never came.
    assert ["refused", "refused", "refused", "made"] == outcomes


def test_a_rotation_lists_again_what_workers_made_meanwhile() -> None:
    """Where a key is added, workers go on sealing to the old one; what they made after the first listing is seen."""
    room = Room(count=2)
    store = room.repository.store
    recording = RecordingStore(store)
    hooked = HookedStore(recording)
    plan = plan_rotation([room.repository], sealed_to(OLD, NEW), retire=False)
    made: list[str] = []

    def work() -> None:
        if not made and "put" in [
            call.kind for call in recording.operations if call.name.startswith(layout.KEYS)
        ]:
            make_when(room, room.data_keys, made, store)()

    for nth in range(1, 60):
        hooked.before(nth, work)
    execute_rotation(plan, [room.open(hooked, OLD)], NOON)
    assert ["made"] == made
    assert 3 == len(room.data_keys)
    assert room.opens_all(store, NEW)


def test_a_form_that_is_deleted_while_it_is_read_sends_the_reader_to_the_newer_one() -> None:
    """Between listing and reading a whole retirement may pass; the reader looks again."""
    room = Room(count=1)
    store = room.repository.store
    hooked = HookedStore(store)
    (key_id,) = room.data_keys
    reader = room.open(hooked, NEW, OLD)
    hooked.before(hooked.calls + 2, partial(room.retire, store))
    assert room.data_keys[key_id] == reader.data_key(key_id)


# ----------------------------------------------------------------------------------------- obstacles


def test_damage_stops_a_retirement_before_anything_is_written() -> None:
    """A data key that cannot be sealed anew would be lost with the old key."""
    room = Room()
    store = room.repository.store
    assert isinstance(store, MemoryStore)
    damaged = sorted(room.data_keys)[1]
    store.tamper(layout.key_name(damaged), lambda data: data[:-1] + b"?")
    before = names(store)
    with pytest.raises(RecoveryKeyInUse) as caught:
        rotate(room.open(store, OLD), to=(NEW,), retire=True)
    assert damaged in str(caught.value)
    assert before == names(store)
    outcome = rotate(room.open(store, OLD), to=(OLD, NEW), retire=False)
    assert [("critical", ForgedSignature.code, layout.key_name(damaged))] == [
        (one.severity, one.code, one.object) for one in outcome.findings if one.severity == "critical"
    ]
    assert 2 == outcome.resealed


def test_damage_that_comes_between_plan_and_execution_stops_it_too() -> None:
    """Nothing is deleted then: what is not damaged opens with the old key as before."""
    room = Room()
    store = room.repository.store
    assert isinstance(store, MemoryStore)
    repository = room.open(store, OLD)
    plan = plan_rotation([repository], sealed_to(NEW), retire=True)
    damaged = max(room.data_keys)
    store.tamper(layout.key_name(damaged), lambda data: data[:-1] + b"?")
    with pytest.raises(RecoveryKeyInUse):
        execute_rotation(plan, [repository], NOON)
    del room.data_keys[damaged]
    assert room.opens_all(store, OLD)
    assert [] == [form for form in room.data_keys if layout.key_name(form) not in names(store)]


def test_a_data_key_under_the_id_of_another_is_noticed_without_a_private_key() -> None:
    """Whoever verifies the structure cannot open it, and need not."""
    room = Room(count=2)
    keys = room.repository.data_keys
    one, other = sorted(room.data_keys)
    form = layout.KeyForm(one, 1)
    stored = keys.seal_anew(layout.KeyForm(other, 1), room.data_keys[other], sealed_to(OLD))
    signed_again = signed(room.keyring, form.name, stored[:-64])
    room.repository.store.create(form.name, signed_again)
    with pytest.raises(TamperedDataKey):
        room.open(room.repository.store).sealed_data_key(one)


@pytest.mark.parametrize("retire", [False, True])
def test_a_private_key_that_opens_nothing_rotates_nothing(retire: bool) -> None:
    """Whoever comes with the wrong recovery.pem is told so, and nothing is written."""
    room = Room()
    store = room.repository.store
    before = names(store)
    with pytest.raises(NotARecipient):
        rotate(room.open(store, RecoveryPrivateKey.generate(os.urandom)), to=(NEW,), retire=retire)
    assert before == names(store)


# ----------------------------------------------------------------------------------- several locations


def two_locations() -> tuple[Room, Repository, Repository]:
    """Make a repository that is at two locations, of which the second has one data key of its own."""
    room = Room()
    first = room.repository.store
    assert isinstance(first, MemoryStore)
    second = first.copy()
    other = room.open(second, seals_to=(OLD,))
    key_id, data_key = other.new_data_key(SECOND, os.urandom)
    room.data_keys[key_id] = data_key
    return room, room.open(first, OLD), room.open(second, OLD)


def test_all_locations_get_the_same_bytes_under_the_same_names() -> None:
    """So that replication never meets two objects of one name; a data key of one location is not missed."""
    room, first, second = two_locations()
    outcome = rotate(first, second, to=(NEW,), retire=True)
    assert (4, 2) == (outcome.resealed, len(outcome.locations))
    objects = [{name: one.store.get(name) for name in names(one.store)} for one in (first, second)]
    assert objects[0] == objects[1]
    assert room.opens_all(first.store, NEW)
    assert room.opens_none(second.store, OLD)


@pytest.mark.parametrize("call", ["list", "get", "put", "delete"])
def test_a_location_that_fails_is_named_and_catches_up(call: str) -> None:
    """The first location is rotated all the same; the old key is to be kept until the other one was, too."""
    room, first, second = two_locations()
    faulty = room.open(second.store, OLD)
    faulty.store = FaultyStore(second.store, [Fault(call, 1, FaultKind.ERROR_BEFORE)])
    faulty.data_keys.store = faulty.store
    plan = plan_rotation([first, second], sealed_to(NEW), retire=True)
    outcome = execute_rotation(plan, [first, faulty], NOON)
    assert [("error", StoreUnavailable.code)] == [
        (one.severity, one.code) for one in outcome.findings if one.code != "rotation-unproven"
    ]
    assert "keep it until keys were rotated again" in outcome.findings[0].advice
    both = Room.open(room, NearestStore([first.store, second.store]), OLD, NEW)
    assert room.data_keys == {key_id: both.data_key(key_id) for key_id in room.data_keys}
    rotate(first, second, to=(NEW,), retire=True)
    assert room.opens_all(first.store, NEW)
    assert room.opens_all(second.store, NEW)
    assert room.opens_none(second.store, OLD)


def test_a_good_copy_elsewhere_stands_in_for_a_damaged_one() -> None:
    """Damage at one location is no loss: the data key is read from the other, and sealed anew for both."""
    room, first, second = two_locations()
    assert isinstance(first.store, MemoryStore)
    damaged = min(room.data_keys)
    first.store.tamper(layout.key_name(damaged), lambda data: data[:-1] + b"?")
    rotate(room.open(first.store, OLD), second, to=(OLD, NEW), retire=False)
    assert room.opens_all(first.store, NEW)


# ------------------------------------------------------------------------------------------ choosing


def newest(*keys: str, retired: Sequence[str] = ()) -> RecoveryKeySet:
    """Make a set."""
    return RecoveryKeySet(format=FORMAT, number=1, made_at=NOON, recovery_keys=keys, retired=tuple(retired))


@pytest.mark.parametrize(
    ("now", "own", "named", "retire", "chosen"),
    [
        (newest("a"), ["a", "b"], [], False, ("a", "b")),
        (newest("a"), ["b"], [], False, ("a", "b")),
        (newest("a"), ["a"], ["c"], False, ("a", "c")),
        (newest("b", retired="a"), ["a", "b"], [], False, ("b",)),
        (newest("b", retired="a"), ["b"], ["a"], False, ("b", "a")),
        (newest("a"), ["a", "b"], [], True, ("b",)),
        (newest("a", "b"), ["b"], [], True, ("b",)),
        (newest("a", "b"), ["a", "b"], ["b"], True, ("b",)),
        (newest("a", "b"), ["a", "b", "c"], [], True, ("c",)),
        (newest("b", retired="a"), ["a", "b"], [], True, ("b",)),
    ],
)
def test_which_keys_are_chosen(
    now: RecoveryKeySet, own: list[str], named: list[str], retire: bool, chosen: tuple[str, ...]
) -> None:
    """New ones are added or take the place; what is named decides; a retired key comes back by name only."""
    assert chosen == choose_recovery_keys(now, own, named, retire=retire)


@pytest.mark.parametrize(("now", "own"), [(newest("a", "b"), ["a", "b"]), (newest("b", retired="a"), ["a"])])
def test_nothing_is_retired_by_guessing(now: RecoveryKeySet, own: list[str]) -> None:
    """Where neither the directory nor anybody says which keys stay, none is let go."""
    with pytest.raises(RetirementUnclear):
        choose_recovery_keys(now, own, [], retire=True)
