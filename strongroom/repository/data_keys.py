"""Data keys in a repository: their sealed forms, and the set of recovery keys that they are sealed to.

A data key never changes; what is stored are **sealed forms** of it, numbered from 0. The highest number counts: it
is what verification looks at and what a rotation goes on from. Whoever opens a data key takes the highest form that
is sealed to a recovery key at hand, so that a rotation which was cut off locks nobody out. Example:

    keys = DataKeys(store, keyring, info)
    key_id, data_key = keys.make(backup, os.urandom)
    data_key = keys.open(key_id)
"""

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import msgspec

from strongroom.crypto.keyring import Keyring
from strongroom.crypto.pack_cipher import new_data_key
from strongroom.crypto.recovery_keys import (
    SEALED_DATA_KEY_FORMAT,
    RecoveryPrivateKey,
    RecoveryPublicKey,
    SealedDataKey,
    open_data_key,
    seal_data_key,
)
from strongroom.decoding import decode_as
from strongroom.errors import (
    DataKeyMissing,
    ForeignRecoveryKeys,
    FormatError,
    KeyringError,
    MalformedDocument,
    NewerDataKey,
    NotARecipient,
    ObjectMissing,
    RecoveryKeysRetired,
    StrongroomError,
    TamperedDataKey,
)
from strongroom.format.codec import decode_json
from strongroom.format.documents import RecoveryKeySet, RepositoryInfo
from strongroom.repository import layout
from strongroom.repository.layout import KeyForm
from strongroom.repository.signed import check_signed, signed, store_signed
from strongroom.stores.nearest import read_good
from strongroom.stores.protocol import Store

Random = Callable[[int], bytes]
Value = TypeVar("Value")

_TRIES = 5


class _SealedFormat(msgspec.Struct):
    format: int


class DataKeys:
    """The data keys of one repository; keeps those that it has opened."""

    def __init__(self, store: Store, keyring: Keyring, info: RepositoryInfo) -> None:
        self.store = store
        self.keyring = keyring
        self._info = info
        self._opened: dict[str, bytes] = {}

    # ------------------------------------------------------------------------------- sets

    def recovery_key_set(self) -> RecoveryKeySet:
        """Return the set that counts: the newest, or what `repository.json` says if keys were never rotated.

        Raises `ForgedSignature`, `MalformedDocument`, `NewerFormat`.
        """
        numbers = [layout.key_set_number(stored.name) for stored in self.store.list(layout.RECOVERY_KEYS)]
        number = max(numbers, default=0)
        if number:
            return self.read_set(number)
        return RecoveryKeySet(
            format=self._info.format,
            number=0,
            made_at=self._info.created_at,
            recovery_keys=self._info.recovery_keys,
        )

    def read_set(self, number: int) -> RecoveryKeySet:
        """Read the set of this number, from 1; raise `ObjectMissing` and what `recovery_key_set` raises."""
        name = layout.key_set_name(number)
        return read_good(self.store, name, lambda data: self._decode_set(number, data))

    def _decode_set(self, number: int, data: bytes) -> RecoveryKeySet:
        name = layout.key_set_name(number)
        found = decode_json(RecoveryKeySet, check_signed(self.keyring, name, data), name)
        if found.number != number:
            raise MalformedDocument(kind="recovery keys", name=name, reason=f"it is number {found.number}")
        if not found.recovery_keys:
            raise MalformedDocument(kind="recovery keys", name=name, reason="it holds no key")
        return found

    def recipients(self) -> tuple[RecoveryPublicKey, ...]:
        """Return the public keys that this worker seals to now: those of its own directory that were not retired.

        What lies in the store adds no key. Raises `ForeignRecoveryKeys` if the directory holds one that the
        repository does not know, `RecoveryKeysRetired` if it holds retired ones only, and `MissingKey`.
        """
        own = self.keyring.require_recovery_public()
        newest = self.recovery_key_set()
        unknown = {key.key_id for key in own} - {*newest.recovery_keys, *newest.retired}
        if unknown:
            raise ForeignRecoveryKeys(unknown=", ".join(sorted(unknown)))
        current = tuple(key for key in own if key.key_id in newest.recovery_keys)
        if not current:
            raise _retired(own, newest)
        return current

    # ------------------------------------------------------------------------------- keys

    def make(self, backup: str, random: Random) -> tuple[str, bytes]:
        """Make a data key, store it sealed to the recovery keys, and return its id and itself.

        The set is looked at again when the key is stored. A rotation writes the set first and lists the data
        keys afterwards: so either it sees this key, or this worker sees the new set and makes another key, and
        none that is used stays sealed to a retired key. Raises what `recipients` raises.
        """
        recipients = self.recipients()
        while True:
            key_id = f"{backup}-{random(4).hex()}"
            data_key = new_data_key(random)
            name = layout.key_name(key_id)
            sealed = seal_data_key(data_key, recipients, key_id)
            store_signed(self.store, self.keyring, name, msgspec.json.encode(sealed))
            try:
                before, recipients = recipients, self.recipients()
            except StrongroomError:
                self._take_back(name)
                raise
            if before == recipients:
                return key_id, data_key
            self._take_back(name)

    def _take_back(self, name: str) -> None:
        """Delete a data key that nobody has used: it would only stay in the way of the rotation."""
        with contextlib.suppress(StrongroomError):
            self.store.delete(name)

    def open(self, key_id: str) -> bytes:
        """Open a data key with a recovery private key.

        Raises `MissingKey`, `DataKeyMissing`, `NotARecipient`, `TamperedDataKey`, `ForgedSignature`.
        """
        if key_id not in self._opened:
            privates = self.keyring.recovery_privates()
            self._opened[key_id] = self._with_forms(key_id, lambda forms: self._open(forms, privates))
        return self._opened[key_id]

    def newest(self, key_id: str) -> SealedDataKey:
        """Read the sealed form that counts.

        Raises `DataKeyMissing`, `ForgedSignature`, `MalformedDocument`, `NewerDataKey`, `TamperedDataKey`.
        """
        return self._with_forms(key_id, lambda forms: self.read_form(forms[-1]))

    def forms(self) -> dict[str, list[KeyForm]]:
        """List all sealed forms by data key, the highest last."""
        return forms_in(stored.name for stored in self.store.list(layout.KEYS))

    def read_form(self, form: KeyForm) -> SealedDataKey:
        """Read one sealed form; raise `ObjectMissing` and what `newest` raises."""
        return read_good(self.store, form.name, lambda data: self.check_form(form, data))

    def check_form(self, form: KeyForm, stored: bytes) -> SealedDataKey:
        """Return what the bytes of a sealed form say, if they are what was stored under its name."""
        data = check_signed(self.keyring, form.name, stored)
        try:
            version = decode_as(_SealedFormat, data).format
            if version > SEALED_DATA_KEY_FORMAT:
                raise NewerDataKey(data_key=form.data_key, format=version, known=SEALED_DATA_KEY_FORMAT)
            sealed = decode_as(SealedDataKey, data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise MalformedDocument(kind="data key", name=form.name, reason=str(error)) from error
        if sealed.id != form.data_key:
            raise TamperedDataKey(data_key=form.data_key)
        return sealed

    def seal_anew(self, form: KeyForm, data_key: bytes, recipients: Sequence[RecoveryPublicKey]) -> bytes:
        """Return the bytes of another sealed form of a data key, to be stored under the form's name."""
        sealed = seal_data_key(data_key, recipients, form.data_key)
        return signed(self.keyring, form.name, msgspec.json.encode(sealed))

    def _with_forms(self, key_id: str, read: Callable[[list[KeyForm]], Value]) -> Value:
        """Read forms of one data key; look again if one is deleted between listing and reading."""
        for _ in range(_TRIES):
            with contextlib.suppress(ObjectMissing):
                return self._read_listed(key_id, read)
        try:
            return self._read_listed(key_id, read)
        except ObjectMissing as error:
            raise DataKeyMissing(key=key_id) from error

    def _read_listed(self, key_id: str, read: Callable[[list[KeyForm]], Value]) -> Value:
        names = (stored.name for stored in self.store.list(layout.key_name(key_id)))
        forms = forms_in(names).get(key_id)
        if not forms:
            raise DataKeyMissing(key=key_id)
        return read(forms)

    def _open(self, forms: list[KeyForm], privates: Sequence[RecoveryPrivateKey]) -> bytes:
        recipients: set[str] = set()
        damage: StrongroomError | None = None
        for form in reversed(forms):
            try:
                sealed = self.read_form(form)
            except (FormatError, KeyringError, TamperedDataKey) as error:
                # Damage to one form, or junk under the name of one, must not keep anybody from a good one.
                damage = damage or error
                continue
            for private in privates:
                if private.key_id in sealed.recipients:
                    return open_data_key(sealed, private, form.data_key)
            recipients |= sealed.recipients.keys()
        if damage is not None:
            raise damage
        raise NotARecipient(
            data_key=forms[0].data_key,
            key_id=", ".join(private.key_id for private in privates),
            recipients=", ".join(sorted(recipients)),
        )


def forms_in(names: Iterable[str]) -> dict[str, list[KeyForm]]:
    """Sort the names of objects into sealed forms by data key, the highest last; other names are left out."""
    found: dict[str, list[KeyForm]] = defaultdict(list)
    for form in map(layout.key_form, names):
        if form is not None:
            found[form.data_key].append(form)
    return {key_id: sorted(forms) for key_id, forms in sorted(found.items())}


def superseded_forms(keys: DataKeys) -> tuple[KeyForm, ...]:
    """Return the sealed forms of one location that may be deleted there: those below the one that counts.

    There are none before **every** data key of the location counts with a form that is sealed to recovery keys
    of the newest set only: until then the older ones are what the retired keys still open, and may be all that
    anybody opens. Raises what reading a sealed form raises: nothing is deleted beside damage.
    """
    forms = keys.forms()
    if all(len(of_key) == 1 for of_key in forms.values()):
        return ()
    current = set(keys.recovery_key_set().recovery_keys)
    for of_key in forms.values():
        recipients = set(keys.read_form(of_key[-1]).recipients)
        if not recipients or not recipients <= current:
            return ()
    return tuple(form for of_key in forms.values() for form in of_key[:-1])


def _retired(own: Sequence[RecoveryPublicKey], newest: RecoveryKeySet) -> RecoveryKeysRetired:
    return RecoveryKeysRetired(
        retired=", ".join(sorted(key.key_id for key in own)),
        current=", ".join(sorted(newest.recovery_keys)),
    )
