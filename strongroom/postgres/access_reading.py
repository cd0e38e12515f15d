"""Reading exact privileges: every object's owner and access list, and the default privileges.

An access list is taken apart with `aclexplode` into a set of (grantee, privilege, grantable); a list that
was never touched counts as what `acldefault` says. The same reading serves the source, and the destination
when the two are compared. For example:

    access = read_access(connection)
    defaults = read_default_access(connection)
"""

from typing import Any

from strongroom.postgres.connection import Connection
from strongroom.postgres.database_facts import Access, AccessKind, DefaultAccess, Grant
from strongroom.supabase.scope import is_managed_schema

# Each part yields: kind, schema, identity, column, owner, list, default list, oid, class.
_PARTS = """
SELECT 'database' AS kind, '' AS schema, '' AS identity, '' AS col, datdba AS owner, datacl AS acl,
       acldefault('d', datdba) AS usual, d.oid, 'pg_database'::regclass AS class, 0 AS sub
FROM pg_database d WHERE datname = current_database()
UNION ALL
SELECT 'schema', nspname, quote_ident(nspname), '', nspowner, nspacl, acldefault('n', nspowner), n.oid,
       'pg_namespace'::regclass, 0
FROM pg_namespace n
UNION ALL
SELECT CASE c.relkind WHEN 'S' THEN 'sequence' ELSE 'table' END, n.nspname,
       format('%I.%I', n.nspname, c.relname), '', c.relowner, c.relacl,
       acldefault(CASE c.relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, c.relowner), c.oid, 'pg_class'::regclass, 0
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
UNION ALL
SELECT 'column', n.nspname, format('%I.%I', n.nspname, c.relname), a.attname, c.relowner, a.attacl,
       '{}'::aclitem[], c.oid, 'pg_class'::regclass, a.attnum
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE a.attacl IS NOT NULL AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
UNION ALL
SELECT 'function', n.nspname, format('%I.%I(%s)', n.nspname, p.proname,
       -- The identity of an ordered-set aggregate has a form that GRANT does not take.
       CASE p.prokind WHEN 'a' THEN oidvectortypes(p.proargtypes) ELSE pg_get_function_identity_arguments(p.oid) END),
       '', p.proowner, p.proacl, acldefault('f', p.proowner), p.oid, 'pg_proc'::regclass, 0
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
-- The constructors of range types are the bootstrap superuser's, whoever made the type.
WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'i')
UNION ALL
SELECT 'type', n.nspname, format('%I.%I', n.nspname, t.typname), '', t.typowner, t.typacl,
       acldefault('T', t.typowner), t.oid, 'pg_type'::regclass, 0
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE t.typtype IN ('b', 'd', 'e', 'r', 'c') AND NOT (t.typelem <> 0
  AND t.typsubscript = 'array_subscript_handler'::regproc)
  AND coalesce(c.relkind, 'c') = 'c' AND t.typisdefined
UNION ALL
SELECT 'language', '', quote_ident(lanname), '', lanowner, lanacl, acldefault('l', lanowner), l.oid,
       'pg_language'::regclass, 0
FROM pg_language l WHERE l.lanpltrusted
UNION ALL
SELECT 'foreign data wrapper', '', quote_ident(fdwname), '', fdwowner, fdwacl, acldefault('F', fdwowner), w.oid,
       'pg_foreign_data_wrapper'::regclass, 0
FROM pg_foreign_data_wrapper w
UNION ALL
SELECT 'foreign server', '', quote_ident(srvname), '', srvowner, srvacl, acldefault('S', srvowner), v.oid,
       'pg_foreign_server'::regclass, 0
FROM pg_foreign_server v
UNION ALL
SELECT 'large object', '', m.oid::text, '', lomowner, lomacl, acldefault('L', lomowner), m.oid,
       'pg_largeobject_metadata'::regclass, 0
FROM pg_largeobject_metadata m
"""

# An extension's member has its extension's privileges unless somebody changed them since.
_ACCESS = f"""
SELECT o.kind, o.schema, o.identity, o.col, pg_get_userbyid(o.owner), o.acl IS NULL, e.objid IS NOT NULL,
       coalesce(g.list, '[]')
FROM ({_PARTS}) o
LEFT JOIN pg_depend e ON e.classid = o.class AND e.objid = o.oid AND e.deptype = 'e'
LEFT JOIN pg_init_privs i ON i.classoid = o.class AND i.objoid = o.oid AND i.objsubid = o.sub
CROSS JOIN LATERAL (
    SELECT json_agg(json_build_array(CASE x.grantee WHEN 0 THEN '' ELSE pg_get_userbyid(x.grantee) END,
               x.privilege_type, x.is_grantable,
               CASE x.grantor WHEN o.owner THEN '' ELSE pg_get_userbyid(x.grantor) END)
           ORDER BY x.grantee, x.privilege_type, x.grantor) AS list
    FROM aclexplode(coalesce(o.acl, o.usual)) x) g
WHERE o.schema !~ '^pg_' AND o.schema <> 'information_schema'
  AND (e.objid IS NULL OR o.acl IS DISTINCT FROM i.initprivs)
ORDER BY 1, 3, 4
"""

_DEFAULT_ACCESS = """
SELECT pg_get_userbyid(d.defaclrole), coalesce(n.nspname, ''),
       CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS'
            WHEN 'T' THEN 'TYPES' WHEN 'n' THEN 'SCHEMAS' ELSE 'LARGE OBJECTS' END,
       (SELECT coalesce(json_agg(json_build_array(CASE x.grantee WHEN 0 THEN '' ELSE pg_get_userbyid(x.grantee) END,
                                                  x.privilege_type, x.is_grantable, '')
                        ORDER BY x.grantee, x.privilege_type), '[]')
        FROM aclexplode(d.defaclacl) x)
FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace ORDER BY 1, 2, 3
"""


def read_access(connection: Connection) -> tuple[Access, ...]:
    """Read the privileges on every object; `managed` ones are the platform's or an extension's."""
    return tuple(_access(row) for row in connection.execute(_ACCESS))


def _access(row: tuple[Any, ...]) -> Access:
    kind: AccessKind
    kind, schema, identity, column, owner, is_default, of_extension, grants = row
    return Access(
        kind=kind,
        identity=identity,
        column=column,
        owner=owner,
        is_default=is_default,
        managed=of_extension or is_managed_schema(schema) or kind in {"database", "language"},
        grants=_grants(grants),
    )


def read_default_access(connection: Connection) -> tuple[DefaultAccess, ...]:
    """Read all default privileges, the platform's roles' too."""
    return tuple(
        DefaultAccess(role=role, schema=schema, kind=kind, grants=_grants(grants))
        for role, schema, kind, grants in connection.execute(_DEFAULT_ACCESS)
    )


def _grants(items: list[tuple[str, str, bool, str]]) -> tuple[Grant, ...]:
    return tuple(
        sorted(
            (Grant(grantee=to, privilege=what, grantable=may, grantor=by) for to, what, may, by in items),
            key=lambda grant: (grant.grantee, grant.privilege, grant.grantor),
        )
    )
