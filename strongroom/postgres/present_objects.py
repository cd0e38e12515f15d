"""What a database already has, in the names that pg_dump tags its archive entries with.

For example:

    ("CONSTRAINT", "public", "robots robots_pkey") in present_objects(connection)
"""

from strongroom.postgres.archive_selection import Identity
from strongroom.postgres.connection import Connection, translated

_PRESENT = """
SELECT 'RELATION', n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'i', 'I')
UNION ALL
SELECT 'ROUTINE', n.nspname, p.proname || '('
       || CASE WHEN p.prokind = 'a' AND p.pronargs = 0 THEN '*' ELSE oidvectortypes(p.proargtypes) END || ')'
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
UNION ALL
SELECT 'TYPE', n.nspname, t.typname FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE coalesce(c.relkind, 'c') = 'c' AND NOT (t.typelem <> 0 AND t.typsubscript = 'array_subscript_handler'::regproc)
UNION ALL
SELECT 'CONSTRAINT', n.nspname, coalesce(c.relname, t.typname) || ' ' || k.conname
FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
LEFT JOIN pg_class c ON c.oid = k.conrelid LEFT JOIN pg_type t ON t.oid = k.contypid
UNION ALL
SELECT 'TRIGGER', n.nspname, c.relname || ' ' || t.tgname
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT t.tgisinternal
UNION ALL
SELECT 'POLICY', n.nspname, c.relname || ' ' || p.polname
FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
UNION ALL
SELECT 'RULE', n.nspname, c.relname || ' ' || r.rulename
FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
UNION ALL
SELECT 'STATISTICS', n.nspname, s.stxname FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
UNION ALL
SELECT 'EVENT TRIGGER', '', evtname FROM pg_event_trigger
UNION ALL
SELECT 'PUBLICATION', '', pubname FROM pg_publication
UNION ALL
SELECT 'PUBLICATION TABLE', n.nspname, p.pubname || ' ' || c.relname
FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid JOIN pg_class c ON c.oid = r.prrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
UNION ALL
SELECT 'PUBLICATION TABLE', '', p.pubname || ' ' || n.nspname
FROM pg_publication_namespace r JOIN pg_publication p ON p.oid = r.pnpubid JOIN pg_namespace n ON n.oid = r.pnnspid
"""


def present_objects(connection: Connection) -> frozenset[Identity]:
    """List the objects that an archive entry could make, and that are there."""
    with translated("the catalog"):
        return frozenset((kind, schema, tag) for kind, schema, tag in connection.execute(_PRESENT))
