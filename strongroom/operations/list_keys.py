"""List recovery keys: those of the key directory, those of the repository, and what is sealed to each."""

from collections import Counter

from strongroom.config import Settings
from strongroom.errors import FormatError, KeyringError, StoreError, Transient
from strongroom.findings import finding_of
from strongroom.format.documents import Finding, RecoveryKeySet
from strongroom.keys import RecoveryFile, recovery_files
from strongroom.operations.context import Context
from strongroom.operations.key_messages import KeysReport, KeyStatus, ListKeys, RecoveryKeyBrief
from strongroom.repository.opening import open_repository
from strongroom.repository.repository import Repository

_NOT_BELIEVED = (FormatError, KeyringError, StoreError)


def list_keys(settings: Settings, request: ListKeys, context: Context) -> KeysReport:  # noqa: ARG001  (as all operations)
    """Return all recovery keys; a data key that cannot be believed is a finding.

    Raises what keeps the whole repository from being read.
    """
    repository = open_repository(settings, deadline=context.deadline)
    files = recovery_files(settings.keys.directory)
    newest = repository.recovery_key_set()
    recipients, findings = _recipients(repository, context)
    counts = Counter(key for sealed_to in recipients.values() for key in sealed_to)
    private = {file.key_id for file in files if file.is_private}
    locked = tuple(key_id for key_id, sealed_to in recipients.items() if not sealed_to & private)
    forms = repository.data_keys.forms()
    return KeysReport(
        location=repository.store.description,
        operator_key=repository.info.operator_key,
        signing_key=repository.info.signing_key,
        number=newest.number,
        recovery_keys=_briefs(newest, files, counts),
        data_keys=len(forms),
        openable=len(recipients) - len(locked),
        locked=locked,
        superseded=sum(len(of_key) - 1 for of_key in forms.values()),
        findings=tuple(findings),
    )


def _recipients(repository: Repository, context: Context) -> tuple[dict[str, set[str]], list[Finding]]:
    """Return what each data key is sealed to, by the form that counts."""
    found: dict[str, set[str]] = {}
    findings: list[Finding] = []
    for key_id, forms in repository.data_keys.forms().items():
        context.deadline.check()
        try:
            found[key_id] = set(repository.data_keys.read_form(forms[-1]).recipients)
        except _NOT_BELIEVED as error:
            if isinstance(error, Transient):
                raise
            findings.append(finding_of(error, forms[-1].name, "critical"))
    return found, findings


def _briefs(
    newest: RecoveryKeySet, files: tuple[RecoveryFile, ...], counts: Counter[str]
) -> tuple[RecoveryKeyBrief, ...]:
    """Describe every key that is known from anywhere: current ones first, then retired, then unknown."""
    here = [file.key_id for file in files if file.key_id is not None]
    ids = dict.fromkeys((*newest.recovery_keys, *newest.retired, *here, *sorted(counts)))
    briefs = [
        RecoveryKeyBrief(
            id=key_id,
            status=_status(key_id, newest),
            public_files=_names(files, key_id, is_private=False),
            private_files=_names(files, key_id, is_private=True),
            data_keys=counts[key_id],
        )
        for key_id in ids
    ]
    return tuple(briefs)


def _status(key_id: str, newest: RecoveryKeySet) -> KeyStatus:
    if key_id in newest.recovery_keys:
        return "current"
    return "retired" if key_id in newest.retired else "unknown"


def _names(files: tuple[RecoveryFile, ...], key_id: str, *, is_private: bool) -> tuple[str, ...]:
    return tuple(file.path.name for file in files if file.key_id == key_id and file.is_private == is_private)
