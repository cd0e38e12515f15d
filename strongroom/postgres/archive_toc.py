"""The table of contents of a pg_dump archive (custom format), read exactly. Pure.

`pg_restore --list` prints entries as words between spaces, which names with spaces or line breaks make
ambiguous; so the archive's own head is read instead. Its layout is that of archive versions 1.14 (pg_dump
12) to 1.16 (pg_dump 17 and 18): integers are a sign byte and four little-endian bytes, strings are a length
(-1 for none) and bytes. For example:

    entries = read_toc(archive)
    entries[0].description, entries[0].schema, entries[0].tag, entries[0].definition
"""

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from strongroom.errors import ArchiveUnreadable

Section: TypeAlias = Literal["none", "pre-data", "data", "post-data"]

_SECTIONS: dict[int, Section] = {1: "none", 2: "pre-data", 3: "data", 4: "post-data"}
_OLDEST = (1, 14)
_NEWEST = (1, 16)
_CUSTOM_FORMAT = 1


@dataclass(frozen=True, slots=True)
class TocEntry:
    """One entry: `description` is its kind in pg_dump's words ("TABLE", "FK CONSTRAINT", "ACL", …).

    `dump_id` names it within the archive, `catalog_oid` and `oid` the object on the dumped server, `tag` is
    its name as pg_dump shows it ("table column" pairs included). `phase` is its section, where comments and
    the like, which have none, take that of the entry before them, as pg_restore does.
    """

    dump_id: int
    catalog_oid: int
    oid: int
    tag: str
    description: str
    phase: Section
    definition: str
    schema: str
    owner: str
    depends_on: tuple[int, ...]


def read_toc(archive: bytes) -> tuple[TocEntry, ...]:
    """Read all entries in the archive's order. Raises `ArchiveUnreadable`."""
    try:
        return _read_entries(_Reader(archive))
    except (IndexError, ValueError, KeyError) as error:
        raise ArchiveUnreadable(detail="its table of contents is damaged") from error


def entry_name(entry: TocEntry) -> str:
    """Name an entry for people: kind and qualified name, on one line."""
    name = f"{entry.schema}.{entry.tag}" if entry.schema else entry.tag
    return " ".join(f"{entry.description} {name}".split())


def read_dump_major(archive: bytes) -> int:
    """Read the major version of the pg_dump that made the archive; its pg_restore can read it."""
    try:
        reader = _Reader(archive)
        _read_head(reader)
    except (IndexError, ValueError) as error:
        raise ArchiveUnreadable(detail="its head is damaged") from error
    major = re.match(r"\d+", reader.dumped_with)
    if major is None:
        raise ArchiveUnreadable(detail="it does not say which pg_dump made it")
    return int(major.group())


def _read_entries(reader: "_Reader") -> tuple[TocEntry, ...]:
    version = _read_head(reader)
    entries: list[TocEntry] = []
    phase: Section = "pre-data"
    for _ in range(reader.integer()):
        entry = _read_entry(reader, version, phase)
        phase = entry.phase
        entries.append(entry)
    return tuple(entries)


def _read_head(reader: "_Reader") -> tuple[int, int]:
    """Read what comes before the entries; return the archive's version and set the reader's sizes."""
    if reader.take(5) != b"PGDMP":
        raise ArchiveUnreadable(detail="it is not an archive of pg_dump")
    version = (reader.byte(), reader.byte())
    reader.byte()
    if not _OLDEST <= version <= _NEWEST:
        raise ArchiveUnreadable(detail=f"its version {version[0]}.{version[1]} is not known here")
    reader.integer_bytes = reader.byte()
    reader.offset_bytes = reader.byte()
    if reader.byte() != _CUSTOM_FORMAT:
        raise ArchiveUnreadable(detail="it is not in custom format")
    if version >= (1, 15):
        reader.byte()  # how the archive is compressed
    else:
        reader.integer()
    for _ in range(7):  # when it was made: seconds to years, and daylight saving
        reader.integer()
    for _ in range(2):  # the database and the server's version
        reader.string()
    reader.dumped_with = reader.string()
    return version


def _read_entry(reader: "_Reader", version: tuple[int, int], before: Section) -> TocEntry:
    """Read one entry; `before` is the phase of the one in front of it."""
    dump_id = reader.integer()
    reader.integer()  # whether the entry has data
    catalog_oid, oid = int(reader.string()), int(reader.string())
    tag, description = reader.string(), reader.string()
    section = _SECTIONS[reader.integer()]
    definition = reader.string()
    for _ in range(2):  # the statements that drop and that copy
        reader.string()
    schema = reader.string()
    for _ in range(2):  # tablespace and access method
        reader.string()
    if version >= (1, 16):
        reader.integer()  # the relation's kind
    owner = reader.string()
    reader.string()  # tables with OIDs, which no supported version has
    depends_on = tuple(int(text) for text in iter(reader.optional_string, None))
    reader.take(1 + reader.offset_bytes)  # where the data is
    phase = before if section == "none" else section
    return TocEntry(dump_id, catalog_oid, oid, tag, description, phase, definition, schema, owner, depends_on)


class _Reader:
    """A position in the archive's bytes, and the sizes that its head gave."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0
        self.integer_bytes = 4
        self.offset_bytes = 8
        self.dumped_with = ""

    def take(self, size: int) -> bytes:
        """Take the next `size` bytes; raises IndexError beyond the end."""
        end = self._at + size
        if size < 0 or end > len(self._content):
            raise IndexError(size)
        piece = self._content[self._at : end]
        self._at = end
        return piece

    def byte(self) -> int:
        """Take one byte."""
        return self.take(1)[0]

    def integer(self) -> int:
        """Take an integer: sign, then magnitude."""
        sign = self.byte()
        magnitude = int.from_bytes(self.take(self.integer_bytes), "little")
        return -magnitude if sign else magnitude

    def optional_string(self) -> str | None:
        """Take a string, or None where the archive says that there is none."""
        length = self.integer()
        return None if length < 0 else self.take(length).decode("utf-8", "surrogateescape")

    def string(self) -> str:
        """Take a string; none is the empty one."""
        return self.optional_string() or ""
