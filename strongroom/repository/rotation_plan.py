"""What a rotation of recovery keys is going to do; carrying it out is `strongroom.repository.rotation`.

ids = choose_recovery_keys(repository.recovery_key_set(), own, named, retire=True)
plan = plan_rotation(repositories, keys, retire=True)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from strongroom.crypto.recovery_keys import RecoveryPublicKey
from strongroom.errors import (
    FormatError,
    KeyringError,
    NotARecipient,
    RepositoryError,
    RetirementUnclear,
    StoreError,
    StrongroomError,
    Transient,
)
from strongroom.format.documents import RecoveryKeySet
from strongroom.repository.layout import KeyForm
from strongroom.repository.repository import Repository

Answer = TypeVar("Answer")

Holders = list[tuple[Repository, list[KeyForm]]]
"""Where a data key has sealed forms, and which, the highest last."""

WRONG = (FormatError, KeyringError, RepositoryError, StoreError)
"""What may be wrong with one data key or one location."""


def choose_recovery_keys(
    newest: RecoveryKeySet, own: Sequence[str], named: Sequence[str], *, retire: bool
) -> tuple[str, ...]:
    """Return the ids to seal to from now on. Pure.

    `own` are the public keys of the key directory, `named` those that somebody asked for. Without `retire` keys are
    added to those that there are; a retired one comes back only by name. With it, the named ones stay alone, else
    those that are new, else those that the directory still holds; raises `RetirementUnclear` if that says nothing.
    """
    wanted = tuple(named or (key for key in own if key not in newest.retired))
    if not retire:
        return tuple(dict.fromkeys((*newest.recovery_keys, *wanted)))
    fresh = tuple(key for key in wanted if key not in newest.recovery_keys)
    if named:
        return tuple(dict.fromkeys(wanted))
    if fresh:
        return fresh
    if wanted and (set(wanted) < set(newest.recovery_keys) or len(newest.recovery_keys) == 1):
        return wanted
    raise RetirementUnclear(current=", ".join(newest.recovery_keys))


@dataclass(frozen=True, slots=True)
class RotationPlan:
    """What a rotation is going to do."""

    recovery_keys: tuple[RecoveryPublicKey, ...]
    retired: tuple[str, ...]
    retire: bool
    """Whether older sealed forms are deleted in the end."""
    writes_set: bool
    data_keys: int
    reseal: tuple[str, ...]
    """The ids of the data keys that are not sealed to exactly these recovery keys."""
    superseded: int
    """How many sealed forms stand behind others already."""
    unopened: tuple[tuple[str, StrongroomError], ...] = ()
    """Data keys that cannot be sealed anew, and why."""

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of the recovery keys."""
        return tuple(key.key_id for key in self.recovery_keys)

    @property
    def is_empty(self) -> bool:
        """Tell whether there is nothing to do."""
        return not (self.writes_set or self.reseal or (self.retire and self.superseded))


def plan_rotation(
    repositories: Sequence[Repository], recovery_keys: Sequence[RecoveryPublicKey], *, retire: bool
) -> RotationPlan:
    """Plan a rotation to exactly these recovery keys; every data key that has to be sealed anew is opened.

    Raises `MissingKey` if there is no recovery private key, `NotARecipient` if it opens none of them, and what
    reading the first location raises.
    """
    ids = {key.key_id for key in recovery_keys}
    places = Places(repositories)
    newest = max((one for _, one in places.ask(Repository.recovery_key_set)), key=lambda one: one.number)
    held = held_data_keys(places)
    reseal, unopened = [], []
    for key_id, holders in held.items():
        try:
            if read_newest(holders)[2] != ids:
                reseal.append(key_id)
                open_anywhere(key_id, holders)
        except WRONG as error:
            if isinstance(error, Transient):
                raise
            unopened.append((key_id, error))
    if reseal:
        repositories[0].keyring.recovery_privates()
    foreign = [error for _, error in unopened if isinstance(error, NotARecipient)]
    if foreign and len(foreign) == len(reseal):
        raise foreign[0]
    return RotationPlan(
        recovery_keys=tuple(recovery_keys),
        retired=tuple(sorted({*newest.retired, *newest.recovery_keys} - ids)),
        retire=retire,
        writes_set=set(newest.recovery_keys) != ids,
        data_keys=len(held),
        reseal=tuple(reseal),
        superseded=sum(len(forms) - 1 for holders in held.values() for _, forms in holders),
        unopened=tuple(unopened),
    )


# ---------------------------------------------------------------- several locations


class Places:
    """The repositories of all locations; one that fails, other than the first, is asked no more."""

    def __init__(self, repositories: Sequence[Repository]) -> None:
        self.first = repositories[0]
        self.live = list(repositories)
        self.lost: list[tuple[Repository, StrongroomError]] = []

    def ask(self, question: Callable[[Repository], Answer]) -> list[tuple[Repository, Answer]]:
        """Return what each repository answers."""
        answers: list[tuple[Repository, Answer]] = []
        for repository in tuple(self.live):
            self.attempt(repository, lambda one: answers.append((one, question(one))))
        return answers

    def attempt(self, repository: Repository, work: Callable[[Repository], object]) -> bool:
        """Do some work at one location; False if it failed there, which is raised for the first."""
        try:
            work(repository)
        except WRONG as error:
            self.lose(repository, error)
            return False
        return True

    def lose(self, repository: Repository, error: StrongroomError) -> None:
        """Ask a repository no more, because of this error; which is raised if it is the first."""
        if repository is self.first:
            raise error
        self.live.remove(repository)
        self.lost.append((repository, error))


def held_data_keys(places: Places) -> dict[str, Holders]:
    """List every data key that any location has, with its holders."""
    found: dict[str, Holders] = {}
    for repository, forms_by_key in places.ask(lambda one: one.data_keys.forms()):
        for key_id, forms in forms_by_key.items():
            found.setdefault(key_id, []).append((repository, forms))
    return dict(sorted(found.items()))


def read_newest(holders: Holders) -> tuple[KeyForm, bytes, set[str]]:
    """Read the form that counts at the first location that has a good copy: it, its bytes, its recipients."""
    highest = max(forms[-1] for _, forms in holders)
    errors: list[StrongroomError] = []
    for repository, forms in holders:
        if forms[-1] == highest:
            try:
                stored = repository.store.get(highest.name)
                return highest, stored, set(repository.data_keys.check_form(highest, stored).recipients)
            except WRONG as error:
                errors.append(error)
    raise errors[0]


def newest_holder(holders: Holders) -> Repository:
    """Return the first location that has the form that counts."""
    highest = max(forms[-1] for _, forms in holders)
    return next(repository for repository, forms in holders if forms[-1] == highest)


def open_anywhere(key_id: str, holders: Holders) -> bytes:
    """Open a data key at the first location where that works; raise what the first says if it works nowhere."""
    errors: list[StrongroomError] = []
    for repository, _ in holders:
        try:
            return repository.data_key(key_id)
        except WRONG as error:
            errors.append(error)
    raise errors[0]
