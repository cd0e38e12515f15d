"""The catalog queries of `facts_reading`."""

INSTANCE = """
SELECT current_setting('server_version_num')::int, (SELECT system_identifier::text FROM pg_control_system()),
       current_database()::text, current_user::text
"""

ROLES = """
SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls,
       rolconnlimit, coalesce(rolvaliduntil::text, ''), coalesce(shobj_description(oid, 'pg_authid'), '')
FROM pg_roles ORDER BY rolname
"""

# Columns that came with 16 are read through the row's JSON, so that one query serves all versions. The
# bootstrap superuser (oid 10) grants a role to whoever made it; a destination does that by itself.
MEMBERSHIPS = """
SELECT r.rolname, m.rolname, coalesce(g.rolname, ''), a.admin_option,
       (to_jsonb(a) ->> 'inherit_option')::bool, (to_jsonb(a) ->> 'set_option')::bool
FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
LEFT JOIN pg_roles g ON g.oid = a.grantor
WHERE NOT (a.grantor = 10 AND a.admin_option AND NOT coalesce((to_jsonb(a) ->> 'set_option')::bool, true))
ORDER BY 1, 2, 3
"""

SETTINGS = """
SELECT coalesce(r.rolname, ''), s.setdatabase <> 0, split_part(c, '=', 1), substr(c, strpos(c, '=') + 1)
FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole, unnest(s.setconfig) AS c
WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
ORDER BY 1, 2, 3
"""

EXTENSIONS = """
SELECT e.extname, e.extversion, n.nspname FROM pg_extension e
  JOIN pg_namespace n ON n.oid = e.extnamespace ORDER BY e.oid
"""

SCHEMAS = """
SELECT n.nspname, pg_get_userbyid(n.nspowner) FROM pg_namespace n
WHERE n.nspname !~ '^(pg_|strongroom_(restore|staging|rollback)$)' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_namespace'::regclass AND d.objid = n.oid
    AND d.deptype = 'e')
ORDER BY n.nspname
"""

# A materialised view comes after those that it reads, also through plain views in between.
MATERIALIZED_VIEWS = """
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
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
    AND d.deptype = 'e')
GROUP BY 1, 2, 3 ORDER BY 4, 1
"""

TRIGGERS = """
SELECT n.nspname, c.relname || ' ' || t.tgname, f.nspname
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace f ON f.oid = p.pronamespace
WHERE NOT t.tgisinternal AND t.tgparentid = 0
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_trigger'::regclass AND d.objid = t.oid
    AND d.deptype = 'e')
ORDER BY 1, 2
"""

POLICIES = """
SELECT n.nspname, c.relname || ' ' || p.polname
FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_policy'::regclass AND d.objid = p.oid
  AND d.deptype = 'e')
ORDER BY 1, 2
"""

EVENT_TRIGGERS = """
SELECT e.evtname, f.nspname FROM pg_event_trigger e
JOIN pg_proc p ON p.oid = e.evtfoid JOIN pg_namespace f ON f.oid = p.pronamespace
WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.deptype = 'e' AND
                  ((d.classid = 'pg_event_trigger'::regclass AND d.objid = e.oid)
                   OR (d.classid = 'pg_proc'::regclass AND d.objid = p.oid)))
ORDER BY 1
"""

# What objects of other schemas refer to in a schema; members of extensions come with their extension.
NEEDS = """
SELECT DISTINCT r.kind, r.identity, r.nspname, u.nspname, pg_get_userbyid(r.owner)
FROM pg_depend d
JOIN (SELECT 'pg_class'::regclass AS class, c.oid, n.nspname,
             format('%I.%I', n.nspname, c.relname) AS identity, 'relation' AS kind, c.relowner AS owner
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
      UNION ALL
      SELECT 'pg_proc'::regclass, p.oid, n.nspname,
             format('%I.%I(%s)', n.nspname, p.proname, oidvectortypes(p.proargtypes)), 'function', p.proowner
      FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
      UNION ALL
      SELECT 'pg_type'::regclass, t.oid, n.nspname, format_type(t.oid, NULL), 'type', t.typowner
      FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace) r ON r.class = d.refclassid AND r.oid = d.refobjid
JOIN (SELECT 'pg_class'::regclass AS class, c.oid, n.nspname FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
      UNION ALL SELECT 'pg_proc'::regclass, p.oid, n.nspname FROM pg_proc p
        JOIN pg_namespace n ON n.oid = p.pronamespace
      UNION ALL SELECT 'pg_constraint'::regclass, k.oid, n.nspname FROM pg_constraint k
        JOIN pg_namespace n ON n.oid = k.connamespace
      UNION ALL SELECT 'pg_trigger'::regclass, t.oid, n.nspname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
                JOIN pg_namespace n ON n.oid = c.relnamespace
      UNION ALL SELECT 'pg_policy'::regclass, p.oid, n.nspname FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
                JOIN pg_namespace n ON n.oid = c.relnamespace
      UNION ALL SELECT 'pg_attrdef'::regclass, a.oid, n.nspname FROM pg_attrdef a JOIN pg_class c ON c.oid = a.adrelid
                JOIN pg_namespace n ON n.oid = c.relnamespace
      UNION ALL SELECT 'pg_rewrite'::regclass, w.oid, n.nspname FROM pg_rewrite w
        JOIN pg_class c ON c.oid = w.ev_class
                JOIN pg_namespace n ON n.oid = c.relnamespace) u ON u.class = d.classid AND u.oid = d.objid
WHERE d.deptype IN ('n', 'a') AND r.nspname <> u.nspname AND r.nspname !~ '^pg_'
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = d.refclassid AND e.objid = d.refobjid AND e.deptype = 'e')
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = d.classid AND e.objid = d.objid AND e.deptype = 'e')
ORDER BY 1, 2
"""
