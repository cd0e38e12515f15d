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
from strongroom.supabase.scope import is_managed_schema, is_platform_role, is_reserved_role

_INSTANCE = """
SELECT current_setting('server_version_num')::int, (SELECT system_identifier::text FROM pg_control_system()),
       current_database()::text, current_user::text
"""

_ROLES = """
SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls,
       rolconnlimit, coalesce(rolvaliduntil::text, ''), coalesce(shobj_description(oid, 'pg_authid'), '')
FROM pg_roles ORDER BY rolname
"""

# Columns that came with 16 are read through the row's JSON, so that one query serves all versions. The
# bootstrap superuser (oid 10) grants a role to whoever made it; a destination does that by itself.
_MEMBERSHIPS = """
SELECT r.rolname, m.rolname, coalesce(g.rolname, ''), a.admin_option,
       (to_jsonb(a) ->> 'inherit_option')::bool, (to_jsonb(a) ->> 'set_option')::bool
FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
LEFT JOIN pg_roles g ON g.oid = a.grantor
WHERE NOT (a.grantor = 10 AND a.admin_option AND NOT coalesce((to_jsonb(a) ->> 'set_option')::bool, true))
ORDER BY 1, 2, 3
"""

_SETTINGS = """
SELECT coalesce(r.rolname, ''), s.setdatabase <> 0, split_part(c, '=', 1), substr(c, strpos(c, '=') + 1)
FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole, unnest(s.setconfig) AS c
WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
ORDER BY 1, 2, 3
"""

_EXTENSIONS = """
SELECT e.extname, e.extversion, n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace ORDER BY e.oid
"""

_SCHEMAS = """
SELECT n.nspname, pg_get_userbyid(n.nspowner) FROM pg_namespace n
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_namespace'::regclass AND d.objid = n.oid AND d.deptype = 'e')
ORDER BY n.nspname
"""

# A materialised view comes after those that it reads, also through plain views in between.
_MATERIALIZED_VIEWS = """
WITH RECURSIVE uses (reader, read) AS (
    SELECT DISTINCT w.ev_class, d.refobjid FROM pg_rewrite w
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass
    WHERE d.refobjid <> w.ev_class
), below (top, oid, depth) AS (
    SELECT c.oid, c.oid, 0 FROM pg_class c WHERE c.relkind = 'm'
    UNION ALL SELECT b.top, u.read, b.depth + 1 FROM below b JOIN uses u ON u.reader = b.oid WHERE b.depth < 200
)
SELECT format('%I.%I', n.nspname, c.relname), c.relispopulated, n.nspname, max(b.depth)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN below b ON b.top = c.oid
WHERE c.relkind = 'm'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
GROUP BY 1, 2, 3 ORDER BY 4, 1
"""

_TRIGGERS = """
SELECT n.nspname, c.relname || ' ' || t.tgname, f.nspname
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace f ON f.oid = p.pronamespace
WHERE NOT t.tgisinternal AND t.tgparentid = 0
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_trigger'::regclass AND d.objid = t.oid AND d.deptype = 'e')
ORDER BY 1, 2
"""

_POLICIES = """
SELECT n.nspname, c.relname || ' ' || p.polname
FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_policy'::regclass AND d.objid = p.oid AND d.deptype = 'e')
ORDER BY 1, 2
"""

_EVENT_TRIGGERS = """
SELECT e.evtname, f.nspname FROM pg_event_trigger e
JOIN pg_proc p ON p.oid = e.evtfoid JOIN pg_namespace f ON f.oid = p.pronamespace
WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.deptype = 'e' AND
                  ((d.classid = 'pg_event_trigger'::regclass AND d.objid = e.oid)
                   OR (d.classid = 'pg_proc'::regclass AND d.objid = p.oid)))
ORDER BY 1
"""

# What objects of other schemas refer to in a schema; members of extensions come with their extension.
_NEEDS = """
SELECT DISTINCT r.kind, r.identity, r.nspname, u.nspname, pg_get_userbyid(r.owner)
FROM pg_depend d
JOIN (SELECT 'pg_class'::regclass AS class, c.oid, n.nspname, format('%I.%I', n.nspname, c.relname) AS identity, 'relation' AS kind, c.relowner AS owner
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
      UNION ALL
      SELECT 'pg_proc'::regclass, p.oid, n.nspname, format('%I.%I(%s)', n.nspname, p.proname, oidvectortypes(p.proargtypes)), 'function', p.proowner
      FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
      UNION ALL
      SELECT 'pg_type'::regclass, t.oid, n.nspname, format_type(t.oid, NULL), 'type', t.typowner
      FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace) r ON r.class = d.refclassid AND r.oid = d.refobjid
JOIN (SELECT 'pg_class'::regclass AS class, c.oid, n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      UNION ALL SELECT 'pg_proc'::regclass, p.oid, n.nspname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
      UNION ALL SELECT 'pg_constraint'::regclass, k.oid, n.nspname FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
      UNION ALL SELECT 'pg_trigger'::regclass, t.oid, n.nspname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
                JOIN pg_namespace n ON n.oid = c.relnamespace
      UNION ALL SELECT 'pg_policy'::regclass, p.oid, n.nspname FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
                JOIN pg_namespace n ON n.oid = c.relnamespace
      UNION ALL SELECT 'pg_attrdef'::regclass, a.oid, n.nspname FROM pg_attrdef a JOIN pg_class c ON c.oid = a.adrelid
                JOIN pg_namespace n ON n.oid = c.relnamespace
      UNION ALL SELECT 'pg_rewrite'::regclass, w.oid, n.nspname FROM pg_rewrite w JOIN pg_class c ON c.oid = w.ev_class
                JOIN pg_namespace n ON n.oid = c.relnamespace) u ON u.class = d.classid AND u.oid = d.objid
WHERE d.deptype IN ('n', 'a') AND r.nspname <> u.nspname AND r.nspname !~ '^pg_'
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = d.refclassid AND e.objid = d.refobjid AND e.deptype = 'e')
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = d.classid AND e.objid = d.objid AND e.deptype = 'e')
ORDER BY 1, 2
"""


def read_facts(connection: Connection) -> DatabaseFacts:
    """Read everything that `DatabaseFacts` holds."""
    with translated("the catalog"):
        version, system, database, reader = _one(connection, _INSTANCE)
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
                Extension(name=n, version=v, schema=s) for n, v, s in connection.execute(_EXTENSIONS)
            ),
            schemas=tuple(Schema(name=name, owner=owner) for name, owner in connection.execute(_SCHEMAS)),
            access=read_access(connection),
            default_access=read_default_access(connection),
            materialized_views=tuple(
                MaterializedView(identity=identity, populated=populated)
                for identity, populated, schema, _ in connection.execute(_MATERIALIZED_VIEWS)
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
        ) in connection.execute(_ROLES)
        if not is_reserved_role(name)
    )


def read_memberships(connection: Connection) -> tuple[Membership, ...]:
    """List memberships, but those among the platform's roles that the user did not grant."""
    return tuple(
        Membership(role=role, member=member, grantor=grantor, admin=admin, inherit=inherit, set_role=set_role)
        for role, member, grantor, admin, inherit, set_role in connection.execute(_MEMBERSHIPS)
        if not (is_reserved_role(role) and is_reserved_role(member) and grantor != "postgres")
    )


def read_settings(connection: Connection) -> tuple[Setting, ...]:
    """List what is set for roles, for this database, and for roles in this database."""
    return tuple(
        Setting(role=role, in_database=in_database, name=name, value=value)
        for role, in_database, name, value in connection.execute(_SETTINGS)
    )


def _attachments(connection: Connection) -> tuple[Attachment, ...]:
    """List the user's triggers and policies on the platform's tables, and the user's event triggers."""
    found: list[Attachment] = []
    for schema, tag, function_schema in connection.execute(_TRIGGERS):
        # A platform's trigger calls a function next to its table.
        if is_managed_schema(schema) and function_schema != schema:
            found.append(Attachment(kind="TRIGGER", schema=schema, tag=tag))
    for schema, tag in connection.execute(_POLICIES):
        if is_managed_schema(schema):
            found.append(Attachment(kind="POLICY", schema=schema, tag=tag))
    for name, function_schema in connection.execute(_EVENT_TRIGGERS):
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
        for kind, identity, schema, by_schema, owner in connection.execute(_NEEDS)
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
