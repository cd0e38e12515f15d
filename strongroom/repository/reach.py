"""What a backup reaches: every object without which it does not restore, by name. Pure.

References count, never the backup's id within a name: later backups name objects of earlier ones. A sealed data
key stands under its first name; its later forms (`keys/<id>.<number>`) belong to it.
"""

from collections.abc import Iterator

from strongroom.format.documents import Manifest, ObjectRef
from strongroom.repository import layout


def reached_objects(manifest: Manifest) -> Iterator[ObjectRef]:
    """Yield the references of everything that a manifest names, data keys apart: those have no digest there."""
    yield from manifest.packs
    yield from manifest.row_maps
    yield from manifest.documents


def reached_names(manifest: Manifest) -> frozenset[str]:
    """Return the names of everything that a backup needs, its data keys under their first names."""
    names = {reference.name for reference in reached_objects(manifest)}
    return frozenset(names | {layout.key_name(key) for key in manifest.data_keys})
