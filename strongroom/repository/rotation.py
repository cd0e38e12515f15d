"""Rotation of recovery keys: every data key is sealed anew, and no row is touched.

    plan = plan_rotation(repositories, keys, retire=True)
    outcome = execute_rotation(plan, repositories, now)

The first repository is the one that is read from, always the same one; the others are further locations, and get the
same bytes under the same names. The order is what makes it safe to cut off anywhere and to run beside backups:

1. Every data key that has to be sealed anew is opened. If one does not open, nothing is retired.
2. The new set is stored at every location. From here on no worker seals to a retired key (`DataKeys.make`).
3. Data keys are listed, and sealed anew beside the forms that are there; again, until a listing brings no other.
   The old recovery key still opens everything.
4. Only to retire, and only when every form that counts was read back: the forms before it are deleted. The new
   recovery key opens everything.

A location that is out of reach becomes a finding. It catches up by replication, and the next retention run there
deletes what `superseded_forms` names.
"""

import datetime as dt
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec

from strongroom.crypto.recovery_keys import RecoveryPrivateKey, open_data_key
from strongroom.errors import (
    FormatError,
    KeyringError,
    LeaseLost,
    ObjectDamaged,
    RecoveryKeyInUse,
    RepositoryError,
    StoreError,
    StrongroomError,
    TamperedDataKey,
)
from strongroom.findings import finding_of
from strongroom.format.documents import FORMAT, Finding, RecoveryKeySet
from strongroom.repository import layout
from strongroom.repository.data_keys import superseded_forms
from strongroom.repository.layout import KeyForm
from strongroom.repository.repository import Repository
from strongroom.repository.rotation_plan import (
    Holders,
    Places,
    RotationPlan,
    held_data_keys,
    newest_holder,
    open_anywhere,
    read_newest,
)
from strongroom.repository.signed import signed, store_bytes


@dataclass(frozen=True, slots=True)
class RotationOutcome:
    """What a rotation did."""

    number: int
    """The number of the set that counts now."""
    data_keys: int
    resealed: int
    proven: tuple[str, ...]
    """The recovery keys whose private halves are here, so that all data keys were opened with them afterwards."""
    deleted: int
    locations: tuple[str, ...]
    findings: tuple[Finding, ...]


def _no_check() -> None:
    """Let it go on."""


def _no_progress(_done: int, _total: int) -> None:
    """Report to nobody."""


def execute_rotation(
    plan: RotationPlan,
    repositories: Sequence[Repository],
    now: dt.datetime,
    check: Callable[[], None] = _no_check,
    progress: Callable[[int, int], None] = _no_progress,
) -> RotationOutcome:
    """Carry a plan out, at the first location and at all others that answer.

    `check` is called before every change and raises if the right to go on is lost. Raises `RecoveryKeyInUse` if a
    key is to be retired that something is still sealed to, `LeaseLost`, and what the first location raises.
    """
    if plan.retire and plan.unopened:
        raise _in_use(plan.unopened)
    rotation = _Rotation(plan, Places(repositories), check, progress)
    number = rotation.write_set(now)
    rotation.seal_all()
    if plan.retire:
        rotation.delete_superseded()
    return RotationOutcome(
        number=number,
        data_keys=len(rotation.settled),
        resealed=rotation.resealed,
        proven=tuple(private.key_id for private in rotation.privates),
        deleted=rotation.deleted,
        locations=tuple(repository.store.description for repository in rotation.places.live),
        findings=(
            *rotation.findings(),
            *_unproven(plan, {private.key_id for private in rotation.privates}),
        ),
    )


@dataclass
class _Rotation:
    """A rotation that is under way."""

    plan: RotationPlan
    places: Places
    check: Callable[[], None]
    progress: Callable[[int, int], None]
    settled: set[str] = field(default_factory=set)
    failed: dict[str, StrongroomError] = field(default_factory=dict)
    resealed: int = 0
    deleted: int = 0

    @property
    def _ids(self) -> set[str]:
        return set(self.plan.key_ids)

    @property
    def privates(self) -> list[RecoveryPrivateKey]:
        """The private halves of the recovery keys that are here."""
        keyring = self.places.first.keyring
        here = keyring.recovery_privates() if keyring.can_read_rows else ()
        return [private for private in here if private.key_id in self._ids]

    def write_set(self, now: dt.datetime) -> int:
        """Store the set at every location, unless it is the one that counts; return its number."""
        sets = self.places.ask(Repository.recovery_key_set)
        holder, newest = max(sets, key=lambda one: one[1].number)
        number = newest.number
        if set(newest.recovery_keys) != self._ids:
            number += 1
            data = self._new_set(number, now)
            self.check()
            if not self.places.first.store.create(layout.key_set_name(number), data):
                raise LeaseLost(what="rotation")
            holder = self.places.first
        elif number:
            data = holder.store.get(layout.key_set_name(number))
        else:
            return 0
        for repository, known in sets:
            if known.number < number and repository is not holder:
                self.check()
                self._store(repository, layout.key_set_name(number), data)
        return number

    def _new_set(self, number: int, now: dt.datetime) -> bytes:
        said = RecoveryKeySet(
            format=FORMAT,
            number=number,
            made_at=now,
            recovery_keys=self.plan.key_ids,
            retired=self.plan.retired,
        )
        return signed(self.places.first.keyring, layout.key_set_name(number), msgspec.json.encode(said))

    def seal_all(self) -> None:
        """Seal what is listed, and list again until nothing is left: workers go on making data keys."""
        while todo := {
            key_id: holders
            for key_id, holders in held_data_keys(self.places).items()
            if key_id not in self.settled and key_id not in self.failed
        }:
            for key_id, holders in todo.items():
                self.check()
                self._try(key_id, [one for one in holders if one[0] in self.places.live])
                self.progress(len(self.settled), len(self.settled) + len(todo))

    def _try(self, key_id: str, holders: Holders) -> None:
        """Settle one data key; what is wrong with it is kept, what is wrong with a location ends work there."""
        if not holders:
            return
        try:
            self._settle(key_id, holders)
        except (ObjectDamaged, FormatError, KeyringError, RepositoryError) as error:
            self.failed[key_id] = error
        except StoreError as error:
            self.places.lose(newest_holder(holders), error)

    def _settle(self, key_id: str, holders: Holders) -> None:
        """See to it that every location has a sealed form of a data key for the new set, the same one."""
        form, stored, recipients = read_newest(holders)
        there = [repository for repository, forms in holders if form in forms]
        if recipients != self._ids:
            data_key = open_anywhere(key_id, holders)
            form = KeyForm(key_id, form.number + 1)
            stored = self.places.first.data_keys.seal_anew(form, data_key, self.plan.recovery_keys)
            store_bytes(self.places.first.store, form.name, stored)
            there = [self.places.first]
            self.resealed += 1
        for repository in tuple(self.places.live):
            if repository not in there:
                self._store(repository, form.name, stored)
        self._prove(form, stored)
        self.settled.add(key_id)

    def _prove(self, form: KeyForm, stored: bytes) -> None:
        """Read the form that counts back, and open it where a private half of a new recovery key is here."""
        first = self.places.first
        observed = first.store.get(form.name)
        if observed != stored:
            raise ObjectDamaged(
                name=form.name,
                store=first.store.description,
                expected=hashlib.sha256(stored).hexdigest(),
                observed=hashlib.sha256(observed).hexdigest(),
            )
        sealed = first.data_keys.check_form(form, observed)
        if set(sealed.recipients) != self._ids:
            raise TamperedDataKey(data_key=form.data_key)
        for private in self.privates:
            if open_data_key(sealed, private, form.data_key) != first.data_keys.open(form.data_key):
                raise TamperedDataKey(data_key=form.data_key)

    def delete_superseded(self) -> None:
        """Delete the older sealed forms, location by location; raise `RecoveryKeyInUse` if one is needed."""
        if self.failed:
            raise _in_use(tuple(self.failed.items()))
        for repository, forms in self.places.ask(lambda one: superseded_forms(one.data_keys)):
            for form in forms:
                self.check()
                if not self.places.attempt(repository, partial(_delete, form=form)):
                    break
                self.deleted += 1

    def _store(self, repository: Repository, name: str, data: bytes) -> None:
        self.places.attempt(repository, lambda one: store_bytes(one.store, name, data))

    def findings(self) -> list[Finding]:
        """Return what went wrong: data keys that could not be sealed, locations that did not answer."""
        broken = [
            finding_of(error, layout.key_name(key_id), "critical") for key_id, error in self.failed.items()
        ]
        return broken + [
            lost_location(repository.store.description, error, retire=self.plan.retire)
            for repository, error in self.places.lost
        ]


def lost_location(name: str, error: StrongroomError, *, retire: bool) -> Finding:
    """Return the finding for a location that a rotation did not reach."""
    return Finding(
        severity="error" if retire else "warning",
        code=error.code,
        object=name,
        observed=error.render(),
        advice=(
            "What was sealed only there still needs the old recovery key: keep it until keys were rotated again "
            "with this location in reach. The sealed forms that it lacks are copied by replication."
        ),
    )


def _unproven(plan: RotationPlan, proven: set[str]) -> list[Finding]:
    """Return a finding for each recovery key that nobody has opened anything with."""
    return [
        Finding(
            severity="warning" if plan.retire else "info",
            code="rotation-unproven",
            object=f"recovery key {key_id}",
            expected="its private half, to open what was sealed to it",
            observed="it is not in the key directory",
            advice="Verify a backup to the level `content` with this key before an older one is destroyed.",
        )
        for key_id in plan.key_ids
        if key_id not in proven
    ]


def _in_use(unopened: Sequence[tuple[str, StrongroomError]]) -> RecoveryKeyInUse:
    key_id, error = unopened[0]
    return RecoveryKeyInUse(count=len(unopened), first=f"{key_id} ({error.render()})")


def _delete(repository: Repository, form: KeyForm) -> None:
    repository.store.delete(form.name)
