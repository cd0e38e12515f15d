"""Collections: the named bytes of a backup that are no table's rows, read back. Needs the recovery key."""

from collections.abc import Iterator

from strongroom.errors import MalformedDocument
from strongroom.format.documents import Manifest
from strongroom.repository import layout
from strongroom.repository.chunks import ChunkReader
from strongroom.repository.repository import Repository

SCHEMA, FACTS, LARGE_OBJECTS, SECRETS = "schema", "facts", "large-objects", "vault-secrets"
"""The names of the collections: pg_dump's archive, the catalog facts, large objects, vault secrets."""

COLLECTIONS = frozenset({SCHEMA, FACTS, LARGE_OBJECTS, SECRETS})
"""What every backup has, each possibly empty."""


def read_collection(repository: Repository, manifest: Manifest, name: str) -> Iterator[bytes]:
    """Yield the bytes of a collection, piece by piece; raise `MalformedDocument` if the backup has none."""
    for reference in manifest.collections:
        if reference.name == name:
            document = repository.read_unit_document(manifest.documents[reference.document])
            yield from ChunkReader(repository).collection(document.collections[reference.index], document)
            return
    raise MalformedDocument(
        kind="manifest", name=layout.manifest_name(manifest.id), reason=f"it has no collection {name}"
    )
