"""What a backup knows of a database beside its rows and pg_dump's archive: the persisted document. Pure.

pg_dump leaves out, or writes in a form that role `postgres` cannot replay: roles and their memberships and
settings, exact privileges, the platform's objects to which the user attached something, and whether a
materialised view was filled. Names that stand in SQL as they are (`identity`) are quoted and qualified.
For example:

    facts = read_facts(connection)                       # strongroom.postgres.facts_reading
    decode_facts(encode_facts(facts)) == facts
"""

from typing import Literal, TypeAlias

import msgspec

from strongroom.decoding import decode_as
from strongroom.errors import CollectionUnreadable
from strongroom.format.documents import Document, Finding

FACTS_FORMAT = 1
"""The version of this document that is written, and the newest that is read."""

AccessKind: TypeAlias = Literal[
    "database",
    "schema",
    "table",
    "column",
    "sequence",
    "function",
    "type",
    "language",
    "foreign data wrapper",
    "foreign server",
    "large object",
]


class Role(Document):
    """A role that the user made. Its password cannot be read and is not here."""

    name: str
    superuser: bool = False
    inherit: bool = True
    create_role: bool = False
    create_database: bool = False
    login: bool = False
    replication: bool = False
    bypass_rls: bool = False
    connection_limit: int = -1
    valid_until: str = ""
    comment: str = ""


class Membership(Document):
    """`member` belongs to `role`; `inherit` and `set_role` are None where the server is older than 16."""

    role: str
    member: str
    grantor: str
    admin: bool = False
    inherit: bool | None = None
    set_role: bool | None = None


class Setting(Document):
    """A configuration value of a role, of the database, or (with both) of a role in this database."""

    name: str
    value: str
    role: str = ""
    in_database: bool = False


class Extension(Document):
    """An installed extension."""

    name: str
    version: str
    schema: str


class Schema(Document):
    """A schema in which the user's objects are, or may be."""

    name: str
    owner: str


class Grant(Document):
    """One privilege of one grantee ("" is PUBLIC); `grantor` is empty where it is the object's owner."""

    grantee: str
    privilege: str
    grantable: bool = False
    grantor: str = ""


class Access(Document):
    """Who owns an object and who may do what with it.

    `is_default` says that nothing was ever granted or revoked; `grants` then holds what that amounted to.
    `managed` objects are the platform's or an extension's. For a column, `identity` is the table's name.
    """

    kind: AccessKind
    identity: str
    owner: str
    grants: tuple[Grant, ...] = ()
    column: str = ""
    is_default: bool = False
    managed: bool = False


class DefaultAccess(Document):
    """What new objects of `kind` get that `role` makes in `schema` ("" is everywhere, replacing the default)."""

    role: str
    schema: str
    kind: Literal["TABLES", "SEQUENCES", "FUNCTIONS", "TYPES", "SCHEMAS", "LARGE OBJECTS"]
    grants: tuple[Grant, ...]


class MaterializedView(Document):
    """A materialised view, listed after those that it reads."""

    identity: str
    populated: bool


class Attachment(Document):
    """What the user put on a table of the platform, or an event trigger of the user's: by its archive tag."""

    kind: Literal["TRIGGER", "POLICY", "EVENT TRIGGER"]
    schema: str
    tag: str


class Need(Document):
    """An object of the platform which the user's objects refer to, so that a destination must have it."""

    kind: Literal["relation", "function", "type"]
    identity: str


class Queue(Document):
    """A message queue of the extension pgmq, whose tables are made by calling it."""

    name: str
    partitioned: bool = False
    unlogged: bool = False


class DatabaseFacts(Document):
    """All of it, of one instant. `findings` say what could not be read, or cannot be restored."""

    format: int
    server_version: int
    system_identifier: str
    database: str
    reader: str
    roles: tuple[Role, ...] = ()
    memberships: tuple[Membership, ...] = ()
    settings: tuple[Setting, ...] = ()
    extensions: tuple[Extension, ...] = ()
    schemas: tuple[Schema, ...] = ()
    access: tuple[Access, ...] = ()
    default_access: tuple[DefaultAccess, ...] = ()
    materialized_views: tuple[MaterializedView, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    needs: tuple[Need, ...] = ()
    queues: tuple[Queue, ...] = ()
    findings: tuple[Finding, ...] = ()


def encode_facts(facts: DatabaseFacts) -> bytes:
    """Return the facts as JSON."""
    return msgspec.json.encode(facts)


def decode_facts(content: bytes) -> DatabaseFacts:
    """Read facts back. Raises `CollectionUnreadable` for a newer format or damaged content."""
    try:
        # The format is judged first: a newer document may hold fields that are unknown here.
        found = decode_as(_Format, content).format
        if found > FACTS_FORMAT:
            raise CollectionUnreadable(
                collection="database facts", detail=f"they have the newer format {found}"
            )
        return decode_as(DatabaseFacts, content)
    except msgspec.MsgspecError as error:
        raise CollectionUnreadable(collection="database facts", detail=type(error).__name__) from error


class _Format(msgspec.Struct):
    """The one field that every version of the document has."""

    format: int
