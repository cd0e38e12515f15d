"""Large objects: read as a stream of sealed-to-be bytes, and written back under the same oids.

The stream is a row of frames, each a length (four bytes, big-endian) and a MessagePack document: a head for
each object, then its content in slices. How the stream is cut on its way does not matter. Owners and
privileges are in the database facts. For example:

    findings: list[Finding] = []
    pieces = read_large_objects(connection, findings)
    write_large_objects(destination, pieces)
"""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

import msgspec
from psycopg import errors as pg

from strongroom.deadline import Deadline
from strongroom.errors import CollectionUnreadable
from strongroom.format.documents import Finding
from strongroom.postgres.connection import Connection, translated
from strongroom.postgres.digest import quote_literal

SLICE_BYTES = 1024 * 1024
_LONGEST_FRAME = 64 * 1024 * 1024

_LIST = """
SELECT m.oid, coalesce(obj_description(m.oid, 'pg_largeobject'), '') FROM pg_largeobject_metadata m ORDER BY m.oid
"""


class LargeObjectHead(msgspec.Struct, frozen=True, tag="head"):
    """The start of a large object."""

    oid: int
    comment: str = ""


class LargeObjectSlice(msgspec.Struct, frozen=True, tag="slice"):
    """Content of the object whose head came last, at `offset`."""

    offset: int
    content: bytes


_Frame: TypeAlias = LargeObjectHead | LargeObjectSlice


def read_large_objects(connection: Connection, findings: list[Finding]) -> Iterator[bytes]:
    """Yield all large objects as frames of about a MiB; one that cannot be read is added to `findings`."""
    with translated("large objects"):
        objects = connection.execute(_LIST).fetchall()
    for oid, comment in objects:
        yield _frame(LargeObjectHead(oid, comment))
        offset = 0
        while content := _slice(connection, oid, offset, findings):
            yield _frame(LargeObjectSlice(offset, content))
            offset += len(content)
            if len(content) < SLICE_BYTES:
                break


def _slice(connection: Connection, oid: int, offset: int, findings: list[Finding]) -> bytes:
    """Read up to a slice; nothing if there is no more, or if the role may not read the object."""
    with translated(f"large object {oid}"):
        try:
            # In a transaction this is a savepoint, so that a refusal does not end the snapshot.
            with connection.transaction():
                row = connection.execute(
                    "SELECT lo_get(%s, %s, %s)", [oid, offset, SLICE_BYTES], binary=True
                ).fetchone()
        except pg.InsufficientPrivilege:
            findings.append(
                Finding(
                    severity="error",
                    code="large-object-not-readable",
                    object=f"large object {oid}",
                    observed="the role may not read it, so it is empty in the backup",
                    advice=f"Run as its owner: GRANT SELECT ON LARGE OBJECT {oid} TO the role of the backup.",
                )
            )
            return b""
    return bytes(row[0]) if row else b""


def _frame(document: _Frame) -> bytes:
    content = msgspec.msgpack.encode(document)
    return len(content).to_bytes(4, "big") + content


def write_large_objects(connection: Connection, pieces: Iterable[bytes], deadline: Deadline) -> int:
    """Make every large object of the stream anew, replacing one of the same oid; return their number."""
    count = 0
    oid = 0
    for frame in _frames(pieces):
        deadline.check()
        if isinstance(frame, LargeObjectHead):
            oid = frame.oid
            count += 1
            _make(connection, frame)
        else:
            with translated(f"large object {oid}"):
                connection.execute("SELECT lo_put(%s, %s, %s)", [oid, frame.offset, frame.content])
    return count


def _make(connection: Connection, head: LargeObjectHead) -> None:
    """Make an empty large object: a restore that is run again replaces what it made before."""
    with translated(f"large object {head.oid}"), connection.transaction():
        connection.execute(
            "SELECT lo_unlink(oid) FROM pg_largeobject_metadata WHERE oid = %s::oid", [head.oid]
        )
        connection.execute("SELECT lo_create(%s)", [head.oid])
        if head.comment:
            connection.execute(f"COMMENT ON LARGE OBJECT {head.oid} IS {quote_literal(head.comment)}")


def _frames(pieces: Iterable[bytes]) -> Iterator[_Frame]:
    """Put frames together again from pieces of any length."""
    decoder: msgspec.msgpack.Decoder[_Frame] = msgspec.msgpack.Decoder(_Frame)
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        while len(waiting) >= 4:
            end = 4 + int.from_bytes(waiting[:4], "big")
            if end > _LONGEST_FRAME:
                raise CollectionUnreadable(collection="large objects", detail="a frame is too long")
            if len(waiting) < end:
                break
            try:
                yield decoder.decode(bytes(waiting[4:end]))
            except msgspec.MsgspecError as error:
                raise CollectionUnreadable(collection="large objects", detail="a frame is damaged") from error
            del waiting[:end]
    if waiting:
        raise CollectionUnreadable(collection="large objects", detail="the last frame is cut off")
