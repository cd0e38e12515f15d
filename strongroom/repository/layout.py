"""The names of the objects of a repository. Pure; `docs/format.md` says what each holds."""

from strongroom.ids import BackupId, PackId

REPOSITORY = "repository.json"
KEYS = "keys/"
PACKS = "packs/"
UNIT_DOCUMENTS = "tables/"
ROW_MAPS = "rowmaps/"
MANIFESTS = "manifests/"
ATTEMPTS = "attempts/"
LEASES = "leases/"
REPORTS = "reports/"


def key_name(data_key: str) -> str:
    """Name the sealed data key."""
    return KEYS + data_key


def pack_name(pack: PackId) -> str:
    """Name a pack: spread over 256 folders, as some media slow down in large ones."""
    return f"{PACKS}{pack[:2]}/{pack}"


def unit_document_name(backup: str, sha256: str) -> str:
    """Name a unit document by the SHA-256 of its stored bytes."""
    return f"{UNIT_DOCUMENTS}{backup}/{sha256}"


def row_maps_name(backup: str, sha256: str) -> str:
    """Name an object of row maps by the SHA-256 of its stored bytes."""
    return f"{ROW_MAPS}{backup}/{sha256}"


def manifest_name(backup: str) -> str:
    """Name a manifest."""
    return MANIFESTS + backup


def attempt_name(backup: str) -> str:
    """Name the stored plan of a backup, finished or not."""
    return ATTEMPTS + backup


def backup_of(name: str) -> BackupId:
    """Return the backup that the name of a manifest, attempt, unit document or row map belongs to."""
    return BackupId(name.split("/")[1])
