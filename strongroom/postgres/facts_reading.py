"""Reading `DatabaseFacts` off a database with catalog queries, as a role that need not be a superuser.

Run inside the snapshot's transaction, the facts belong to the same instant as the rows. Objects that belong
to an extension are the extension's; of their privileges only those are kept that differ from what the
extension gave. For example:

    facts = read_facts(connection)
"""

from typing import Any, Literal

from strongroom.format.documents import Finding
from strongroom.postgres.access_reading import read_access, read_default_access
from strongroom.postgres.connection import Connection, translated
from strongroom.postgres.database_facts import (
    FACTS_FORMAT,
    Attachment,
    DatabaseFacts,
    Extension,
    MaterializedView,
    Membership,
    Need,
    Queue,
    Role,
    Schema,
    Setting,
)
from strongroom.postgres.facts_queries import (
    EVENT_TRIGGERS,
    EXTENSIONS,
    INSTANCE,
    MATERIALIZED_VIEWS,
    MEMBERSHIPS,
    NEEDS,
    POLICIES,
    ROLES,
    SCHEMAS,
    SETTINGS,
    TRIGGERS,
)
from strongroom.supabase.scope import is_managed_schema, is_platform_role, is_reserved_role


def read_facts(connection: Connection) -> DatabaseFacts:
    """Read everything that `DatabaseFacts` holds."""
    with translated("the catalog"):
        version, system, database, reader = _one(connection, INSTANCE)
        roles = read_roles(connection)
        return DatabaseFacts(
            format=FACTS_FORMAT,
            server_version=version,
            system_identifier=system,
            database=database,
            reader=reader,
            roles=roles,
            memberships=read_memberships(connection),
            settings=read_settings(connection),
            extensions=tuple(
                Extension(name=n, version=v, schema=s) for n, v, s in connection.execute(EXTENSIONS)
            ),
            schemas=tuple(Schema(name=name, owner=owner) for name, owner in connection.execute(SCHEMAS)),
            access=read_access(connection),
            default_access=read_default_access(connection),
            materialized_views=tuple(
                MaterializedView(identity=identity, populated=populated)
                for identity, populated, schema, _ in connection.execute(MATERIALIZED_VIEWS)
                if not is_managed_schema(schema)
            ),
            attachments=_attachments(connection),
            needs=_needs(connection),
            queues=_queues(connection),
            findings=_findings(connection, roles),
        )


def _one(connection: Connection, query: str) -> tuple[Any, ...]:
    row = connection.execute(query).fetchone()
    return row or ()


def read_roles(connection: Connection) -> tuple[Role, ...]:
    """List the roles that are not the platform's."""
    return tuple(
        Role(
            name=name,
            superuser=superuser,
            inherit=inherit,
            create_role=create_role,
            create_database=create_database,
            login=login,
            replication=replication,
            bypass_rls=bypass,
            connection_limit=limit,
            valid_until=until,
            comment=comment,
        )
        for (
            name,
            superuser,
            inherit,
            create_role,
            create_database,
            login,
            replication,
            bypass,
            limit,
            until,
            comment,
        ) in connection.execute(ROLES)
        if not is_reserved_role(name)
    )


def read_memberships(connection: Connection) -> tuple[Membership, ...]:
    """List memberships, but those among the platform's roles that the user did not grant."""
    return tuple(
        Membership(role=role, member=member, grantor=grantor, admin=admin, inherit=inherit, set_role=set_role)
        for role, member, grantor, admin, inherit, set_role in connection.execute(MEMBERSHIPS)
        if not (is_reserved_role(role) and is_reserved_role(member) and grantor != "postgres")
    )


def read_settings(connection: Connection) -> tuple[Setting, ...]:
    """List what is set for roles, for this database, and for roles in this database."""
    return tuple(
        Setting(role=role, in_database=in_database, name=name, value=value)
        for role, in_database, name, value in connection.execute(SETTINGS)
    )


def _attachments(connection: Connection) -> tuple[Attachment, ...]:
    """List the user's triggers and policies on the platform's tables, and the user's event triggers."""
    found: list[Attachment] = []
    for schema, tag, function_schema in connection.execute(TRIGGERS):
        # A platform's trigger calls a function next to its table.
        if is_managed_schema(schema) and function_schema != schema:
            found.append(Attachment(kind="TRIGGER", schema=schema, tag=tag))
    for schema, tag in connection.execute(POLICIES):
        if is_managed_schema(schema):
            found.append(Attachment(kind="POLICY", schema=schema, tag=tag))
    for name, function_schema in connection.execute(EVENT_TRIGGERS):
        if not is_managed_schema(function_schema):
            found.append(Attachment(kind="EVENT TRIGGER", schema="", tag=name))
    return tuple(found)


def _needs(connection: Connection) -> tuple[Need, ...]:
    kinds: dict[str, Literal["relation", "function", "type"]] = {
        "relation": "relation",
        "function": "function",
        "type": "type",
    }
    wanted = {
        (kind, identity)
        for kind, identity, schema, by_schema, owner in connection.execute(NEEDS)
        if is_managed_schema(schema) and not is_managed_schema(by_schema) and is_platform_role(owner)
    }
    return tuple(Need(kind=kinds[kind], identity=identity) for kind, identity in sorted(wanted))


def _queues(connection: Connection) -> tuple[Queue, ...]:
    if not _one(connection, "SELECT to_regclass('pgmq.meta') IS NOT NULL")[0]:
        return ()
    return tuple(
        Queue(name=name, partitioned=partitioned, unlogged=unlogged)
        for name, partitioned, unlogged in connection.execute(
            "SELECT queue_name::text, is_partitioned, is_unlogged FROM pgmq.meta ORDER BY 1"
        )
    )


def _findings(connection: Connection, roles: tuple[Role, ...]) -> tuple[Finding, ...]:
    """Name what no backup as this role can hold."""
    found = [
        Finding(
            severity="warning",
            code="role-password",
            object=role.name,
            observed="a role that logs in; its password cannot be read",
            advice="After a restore, give it a password: ALTER ROLE … PASSWORD …",
        )
        for role in roles
        if role.login
    ]
    query = """SELECT subname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
               WHERE d.datname = current_database() ORDER BY 1"""
    for (name,) in connection.execute(query):
        found.append(
            Finding(
                severity="warning",
                code="subscription",
                object=name,
                observed="a subscription; only a superuser can read its definition",
                advice="Keep the statement that makes it, and run it by hand after a restore.",
            )
        )
    return tuple(found)
