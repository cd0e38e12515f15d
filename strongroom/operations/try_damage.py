"""Damage a copy of one backup in one way, and see whether verification notices it for what it is.

What is verified is the copy alone: no other location could mend it on the way, and nothing else is written to.
"""

import time
from pathlib import Path

from strongroom.config import KeySettings, RepositorySettings, Settings
from strongroom.drill.copying import OTHER_KEYS, damageable
from strongroom.drill.damage import Damage, Specimen, Trace, find_damage, notice
from strongroom.errors import StrongroomError, Transient, UnknownBackup
from strongroom.findings import finding_of
from strongroom.format.documents import Finding
from strongroom.format.records import DamageOutcome
from strongroom.keys import load_keyring
from strongroom.operations.context import Context
from strongroom.operations.drill_messages import DamageReport, TryDamage
from strongroom.operations.messages import VerifyBackup
from strongroom.operations.verify_backup import verify_backup
from strongroom.repository.locations import Location
from strongroom.repository.repository import Repository

CONTROL = "control"
"""What the undamaged copy is called; it is verified to the deepest level, and has to pass."""

_GRAVE = frozenset({"error", "critical"})
_MOST_FINDINGS = 20


def try_damage(settings: Settings, request: TryDamage, context: Context) -> DamageReport:
    """Damage a state of the copy, verify it, and report what noticed; the control is noticed if it passes.

    Raises what verifying raises where it says nothing of the copy: what may pass, and `DeadlineExceeded`.
    """
    started = time.monotonic()
    folder = Path(request.folder)
    with damageable(folder, request.damage or CONTROL) as place:
        if not request.damage:
            findings = _verify(_settings_of(settings, place, None), "content", request.backup, context)
            wrong = [finding for finding in findings if finding.severity in _GRAVE]
            outcome = DamageOutcome(
                damage=CONTROL,
                noticed_by="" if wrong else "verify content: passed",
                observed=_sentence(wrong) if wrong else "the undamaged copy passes",
            )
            level = "content"
        else:
            damage = find_damage(request.damage)
            trace = damage.do(_specimen(settings, place, request, context))
            keys = folder / OTHER_KEYS if damage.with_other_key else None
            findings = _verify(_settings_of(settings, place, keys), damage.level, request.backup, context)
            outcome, level = _outcome(damage, trace, findings), damage.level
    return DamageReport(
        outcome=outcome,
        level=level,
        seconds=round(time.monotonic() - started, 3),
        findings=tuple(findings[:_MOST_FINDINGS]),
    )


def _specimen(settings: Settings, place: Location, request: TryDamage, context: Context) -> Specimen:
    repository = Repository.open(place.store, load_keyring(settings.keys.directory))
    manifest = repository.read_manifest(request.backup)
    return Specimen(repository, manifest, request.older, context.random)


def _settings_of(settings: Settings, place: Location, keys: Path | None) -> Settings:
    """Return the settings of somebody who has nothing but the copy, and these keys instead of the right ones."""
    changed: dict[str, object] = {"repository": RepositorySettings(locations=(place.settings,))}
    if keys is not None:
        own = settings.keys
        changed["keys"] = KeySettings(
            directory=keys, passphrase=own.passphrase, passphrase_file=own.passphrase_file
        )
    return settings.model_copy(update=changed)


def _verify(settings: Settings, level: str, backup: str, context: Context) -> list[Finding]:
    """Verify the copy; an error about the copy that ends it is what was found."""
    request = VerifyBackup(backup=backup, level="content" if level == "content" else "structure")
    try:
        return list(verify_backup(settings, request, context).findings)
    except StrongroomError as error:
        if isinstance(error, Transient):
            raise
        context.deadline.check()
        name = "" if not isinstance(error, UnknownBackup) else backup
        return [finding_of(error, str(error.context.get("name", name)), "critical")]


def _outcome(damage: Damage, trace: Trace, findings: list[Finding]) -> DamageOutcome:
    noticed_by = notice(damage, trace, findings)
    wrong = [finding for finding in findings if finding.severity in _GRAVE]
    observed = trace.done
    if not noticed_by:
        observed += f"; verify {damage.level} " + (f"found only {_sentence(wrong)}" if wrong else "passed")
    return DamageOutcome(damage=damage.name, noticed_by=noticed_by, observed=observed)


def _sentence(findings: list[Finding]) -> str:
    return "; ".join(f"{finding.code} at {finding.object}" for finding in findings[:3])
