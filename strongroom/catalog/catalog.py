"""The catalog: an immutable view of the listed backups. Pure.

For example: `Catalog.of(manifests).latest().id`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from strongroom.errors import NoBackupYet, UnknownBackup
from strongroom.format.documents import Manifest


@dataclass(frozen=True)
class Catalog:
    """All listed backups of a repository, oldest snapshot first."""

    backups: tuple[Manifest, ...]

    @classmethod
    def of(cls, manifests: Iterable[Manifest]) -> Self:
        """Make the catalog of these manifests, in whatever order they come."""
        return cls(tuple(sorted(manifests, key=lambda m: (m.snapshot.taken_at, m.id))))

    def latest(self, source: str | None = None) -> Manifest:
        """Return the newest backup (of one source); raise `NoBackupYet`."""
        for manifest in reversed(self.backups):
            if source is None or manifest.source == source:
                return manifest
        raise NoBackupYet

    def latest_full(self, source: str) -> Manifest | None:
        """Return the newest full backup of a source, or None."""
        fulls = (m for m in reversed(self.backups) if m.kind == "full" and m.source == source)
        return next(fulls, None)

    def find(self, backup: str) -> Manifest:
        """Return the backup of this id, or the newest for `latest`; raise `UnknownBackup`, `NoBackupYet`."""
        if backup == "latest":
            return self.latest()
        for manifest in self.backups:
            if manifest.id == backup:
                return manifest
        raise UnknownBackup(backup=backup)
