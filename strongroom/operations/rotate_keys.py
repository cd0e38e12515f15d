"""Rotate recovery keys at all locations; `strongroom.repository.rotation` says in what order, and why.

While it runs, nothing is replicated or deleted at the locations that take part, so that no key which was shredded
comes back. Cut off at any point it leaves everything readable with the old recovery key, or with the new one; the
next run converges.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from strongroom.config import Settings
from strongroom.crypto.keyring import Keyring
from strongroom.crypto.recovery_keys import RecoveryPublicKey
from strongroom.errors import (
    ForeignRepository,
    FormatError,
    KeyringError,
    MissingKey,
    NotARepository,
    NothingToRotate,
    RepositoryError,
    StoreError,
)
from strongroom.format.documents import Finding
from strongroom.keys import load_keyring, load_recovery_public_key
from strongroom.operations.context import Context, Progress
from strongroom.operations.key_messages import RotateKeys, RotationReport
from strongroom.repository.leases import Lease
from strongroom.repository.locations import Location, open_locations
from strongroom.repository.repository import Repository
from strongroom.repository.rotation import RotationOutcome, execute_rotation, lost_location
from strongroom.repository.rotation_plan import RotationPlan, choose_recovery_keys, plan_rotation
from strongroom.repository.writing import COPY_RIGHT

ROTATE_RIGHT = "rotate"
"""The right to seal data keys anew, held at the first location."""

_WRONG = (StoreError, RepositoryError, FormatError, KeyringError)
_KEY_ID = re.compile(r"[0-9a-f]{16}")


def rotate_keys(settings: Settings, request: RotateKeys, context: Context) -> RotationReport:
    """Seal every data key anew; report what was done and what was left behind.

    Raises `NothingToRotate`, `RetirementUnclear`, `RecoveryKeyInUse`, `NotARecipient`, `LeaseHeld`, `LeaseLost`,
    `MissingKey`, `WrongPassphrase`, and what reading and writing the first location raise.
    """
    started = context.clock()
    keyring = load_keyring(settings.keys.directory, passphrase=settings.keys.read_passphrase)
    keyring.require_recovery_private()
    keyring.require_signing()
    first, *others = open_locations(settings, context.deadline)
    repository = Repository.open(first.store, keyring)
    token = context.random(8).hex()
    with ExitStack() as stack:
        lease = stack.enter_context(Lease(first.store, ROTATE_RIGHT, token, context.clock))
        leases = [lease, stack.enter_context(Lease(first.store, COPY_RIGHT, token, context.clock))]
        repositories, findings = [repository], []
        for location in others:
            try:
                opened = _open_other(location, repository)
                leases.append(stack.enter_context(Lease(location.store, COPY_RIGHT, token, context.clock)))
            except NotARepository:
                continue  # Nothing was ever sealed there; replication will make it.
            except _WRONG as error:
                findings.append(lost_location(f"location {location.name}", error, retire=request.retire))
            else:
                repositories.append(opened)

        def check() -> None:
            context.deadline.check()
            for one in leases:
                one.check()

        def progress(done: int, total: int) -> None:
            context.progress(Progress(done, total, "data keys", "rotation"))

        plan = _plan(repositories, request)
        outcome = execute_rotation(plan, repositories, context.clock(), check, progress)
    seconds = round((context.clock() - started).total_seconds(), 3)
    return _report(plan, outcome, findings, seconds)


def _open_other(location: Location, first: Repository) -> Repository:
    """Open a further location; raise `ForeignRepository` if it holds another repository."""
    opened = Repository.open(location.store, first.keyring)
    if opened.info.id != first.info.id:
        raise ForeignRepository(location=location.name, present=opened.info.id, wanted=first.info.id)
    return opened


def _plan(repositories: Sequence[Repository], request: RotateKeys) -> RotationPlan:
    """Choose the keys and plan; raise `NothingToRotate` if nothing is to be done."""
    keyring = repositories[0].keyring
    named = [_named(one) for one in request.to]
    at_hand = _at_hand(keyring) | {key.key_id: key for key in named if isinstance(key, RecoveryPublicKey)}
    newest = repositories[0].recovery_key_set()
    ids = choose_recovery_keys(
        newest,
        [key.key_id for key in keyring.recovery_public],
        [one if isinstance(one, str) else one.key_id for one in named],
        retire=request.retire,
    )
    plan = plan_rotation(repositories, [_public_half(key, at_hand) for key in ids], retire=request.retire)
    if plan.is_empty:
        raise NothingToRotate(keys=", ".join(plan.key_ids))
    return plan


def _named(text: str) -> str | RecoveryPublicKey:
    """Return a key id as it is, and the public key of a file."""
    if _KEY_ID.fullmatch(text) and not Path(text).exists():
        return text
    return load_recovery_public_key(text)


def _at_hand(keyring: Keyring) -> dict[str, RecoveryPublicKey]:
    halves = [private.public() for private in keyring.recovery_privates()]
    return {key.key_id: key for key in (*halves, *keyring.recovery_public)}


def _public_half(key_id: str, at_hand: Mapping[str, RecoveryPublicKey]) -> RecoveryPublicKey:
    if key_id not in at_hand:
        raise MissingKey(
            file=f"the public half of recovery key {key_id}",
            purpose="data keys are to be sealed to it",
            remedy=(
                "Put its .pub file into the key directory or name it with --to. If it is lost, rotate with --retire "
                "to the keys that are to stay."
            ),
        )
    return at_hand[key_id]


def _report(
    plan: RotationPlan, outcome: RotationOutcome, findings: Sequence[Finding], seconds: float
) -> RotationReport:
    every = (*findings, *outcome.findings)
    return RotationReport(
        passed=not any(finding.severity in {"error", "critical"} for finding in every),
        number=outcome.number,
        recovery_keys=plan.key_ids,
        retired=plan.retired,
        data_keys=outcome.data_keys,
        resealed=outcome.resealed,
        proven=outcome.proven,
        forms_deleted=outcome.deleted,
        locations=outcome.locations,
        seconds=seconds,
        findings=every,
    )
