"""Documents to bytes and back: JSON in one zstd frame. Pure; sealing is the crypto room's."""

from typing import TypeVar

import msgspec
import zstandard

from strongroom.decoding import decode_as
from strongroom.errors import MalformedDocument, NewerFormat
from strongroom.format.documents import FORMAT, Document
from strongroom.format.frames import open_frame

D = TypeVar("D", bound=Document)

_LARGEST_DOCUMENT = 1 << 30


class _Version(msgspec.Struct):
    format: int


def encode_document(document: Document) -> bytes:
    """Return the bytes of a document, compressed."""
    return zstandard.ZstdCompressor(level=3).compress(msgspec.json.encode(document))


def decode_document(kind: type[D], data: bytes, name: str) -> D:
    """Return the document; raise `NewerFormat` or `MalformedDocument`, which name it."""
    try:
        raw = open_frame(data, _LARGEST_DOCUMENT)
    except zstandard.ZstdError as error:
        raise MalformedDocument(kind=kind.__name__, name=name, reason="it does not decompress") from error
    return decode_json(kind, raw, name)


def decode_json(kind: type[D], raw: bytes, name: str) -> D:
    """Return the document that is not compressed; the format number is looked at before anything else."""
    try:
        version = decode_as(_Version, raw).format
        if version > FORMAT:
            raise NewerFormat(name=name, version=version, known=FORMAT)
        return decode_as(kind, raw)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MalformedDocument(kind=kind.__name__, name=name, reason=str(error)) from error
    except RecursionError as error:
        raise MalformedDocument(kind=kind.__name__, name=name, reason="it is nested too deeply") from error
