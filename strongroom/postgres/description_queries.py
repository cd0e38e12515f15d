"""The catalog queries of `schema_description`: schema, qualified name, whether the platform's, properties.

They run with an empty search path, so that every name in an expression is qualified.
"""

# Members of extensions are the extension's.
_NOT_MEMBER = """NOT EXISTS (SELECT FROM pg_depend mem WHERE mem.classid = '{0}'::regclass AND mem.objid = {1}
  AND mem.deptype = 'e')"""


def _free(catalog: str, oid: str) -> str:
    return _NOT_MEMBER.format(catalog, oid)


MANAGED_TOO = frozenset({"trigger", "policy", "event trigger", "publication"})
"""Kinds that the user puts on the platform's objects too."""

QUERIES: dict[str, str] = {
    "schema": f"""
SELECT n.nspname, quote_ident(n.nspname), false, jsonb_build_object('owner', pg_get_userbyid(n.nspowner))
FROM pg_namespace n WHERE {_free("pg_namespace", "n.oid")} AND n.nspname !~ '^pg_'""",
    "relation": f"""
SELECT n.nspname, format('%I.%I', n.nspname, c.relname), false, jsonb_build_object(
    'kind', c.relkind, 'persistence', c.relpersistence, 'options', c.reloptions,
    'replica identity', c.relreplident, 'row security', c.relrowsecurity, 'forced', c.relforcerowsecurity,
    'filled', c.relispopulated, 'access method', (SELECT amname FROM pg_am WHERE oid = c.relam),
    'type', CASE WHEN c.reloftype <> 0 THEN format_type(c.reloftype, NULL) END,
    'partition of', pg_get_expr(c.relpartbound, c.oid),
    'partition key', CASE c.relkind WHEN 'p' THEN pg_get_partkeydef(c.oid) END,
    'parents', (SELECT jsonb_agg(i.inhparent::regclass::text ORDER BY i.inhseqno) FROM pg_inherits i
      WHERE i.inhrelid = c.oid),
    'query', CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END,
    'toast options', (SELECT t.reloptions FROM pg_class t WHERE t.oid = c.reltoastrelid),
    'foreign', (SELECT jsonb_build_array(s.srvname, f.ftoptions) FROM pg_foreign_table f
                JOIN pg_foreign_server s ON s.oid = f.ftserver WHERE f.ftrelid = c.oid))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't' AND {_free("pg_class", "c.oid")}""",
    "column": f"""
SELECT n.nspname, format('%I.%I.%I', n.nspname, c.relname, a.attname), false, jsonb_build_object(
    'place', (SELECT count(*) FROM pg_attribute b WHERE b.attrelid = c.oid AND b.attnum > 0
              AND b.attnum <= a.attnum AND NOT b.attisdropped),
    'type', format_type(a.atttypid, a.atttypmod), 'not null', a.attnotnull, 'identity', a.attidentity,
    'generated', a.attgenerated, 'default', pg_get_expr(d.adbin, d.adrelid), 'local', a.attislocal,
    'collation', (SELECT format('%I.%I', l.nspname, o.collname) FROM pg_collation o
                  JOIN pg_namespace l ON l.oid = o.collnamespace WHERE o.oid = a.attcollation),
    'storage', a.attstorage, 'compression', a.attcompression,
    'statistics', nullif(a.attstattarget, -1), 'options', a.attoptions, 'foreign options', a.attfdwoptions)
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND c.relpersistence <> 't'
  AND {_free("pg_class", "c.oid")}""",
    "constraint": f"""
SELECT n.nspname, format('%I.%I.%I', n.nspname, coalesce(c.relname, t.typname), k.conname), false,
    jsonb_build_object('definition', pg_get_constraintdef(k.oid), 'validated', k.convalidated, 'local', k.conislocal)
FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
LEFT JOIN pg_class c ON c.oid = k.conrelid LEFT JOIN pg_type t ON t.oid = k.contypid
WHERE k.contype NOT IN ('n', 't') AND NOT (k.contype = 'f' AND k.conparentid <> 0)
  AND {_free("pg_class", "c.oid")} AND {_free("pg_type", "t.oid")}""",
    "not-null constraint": f"""
SELECT n.nspname, format('%I.%I.%I', n.nspname, c.relname, k.conname), false,
    jsonb_build_object('definition', pg_get_constraintdef(k.oid), 'local', k.conislocal)
FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace JOIN pg_class c ON c.oid = k.conrelid
WHERE k.contype = 'n' AND {_free("pg_class", "c.oid")}""",
    "index": f"""
SELECT n.nspname, format('%I.%I', n.nspname, c.relname), false, jsonb_build_object(
    'definition', pg_get_indexdef(i.indexrelid), 'valid', i.indisvalid, 'clustered', i.indisclustered,
    'replica identity', i.indisreplident, 'options', c.reloptions,
    'parent', (SELECT h.inhparent::regclass::text FROM pg_inherits h WHERE h.inhrelid = c.oid))
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {_free("pg_class", "i.indrelid")} AND c.relpersistence <> 't'""",
    "trigger": f"""
SELECT n.nspname, format('%I.%I.%I', n.nspname, c.relname, t.tgname), f.nspname = n.nspname AND
    n.nspname IN ('auth', 'storage', 'realtime', 'supabase_functions', 'cron', 'vault', 'net', 'pgmq', 'graphql'),
    jsonb_build_object('definition', pg_get_triggerdef(t.oid), 'fires', t.tgenabled)
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace f ON f.oid = p.pronamespace
WHERE NOT t.tgisinternal AND {_free("pg_trigger", "t.oid")} AND {_free("pg_class", "c.oid")}""",
    "policy": f"""
SELECT n.nspname, format('%I.%I.%I', n.nspname, c.relname, p.polname), false, jsonb_build_object(
    'command', p.polcmd, 'permissive', p.polpermissive, 'using', pg_get_expr(p.polqual, p.polrelid),
    'check', pg_get_expr(p.polwithcheck, p.polrelid), 'roles', (SELECT jsonb_agg(CASE r WHEN 0 THEN 'PUBLIC'
        ELSE pg_get_userbyid(r) END ORDER BY CASE r WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(r) END)
          FROM unnest(p.polroles) r))
FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {_free("pg_policy", "p.oid")}""",
    "rule": f"""
SELECT n.nspname, format('%I.%I.%I', n.nspname, c.relname, r.rulename), false,
    jsonb_build_object('definition', pg_get_ruledef(r.oid), 'fires', r.ev_enabled)
FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE r.rulename <> '_RETURN' AND {_free("pg_class", "c.oid")}""",
    "routine": f"""
SELECT n.nspname, format('%I.%I(%s)', n.nspname, p.proname, oidvectortypes(p.proargtypes)), false,
    jsonb_build_object('kind', p.prokind, 'definition', CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) END,
    'aggregate', (SELECT to_jsonb(g) - '{{aggfnoid,aggsortop,aggtranstype,aggmtranstype}}'::text[]
                  || jsonb_build_object('state', format_type(g.aggtranstype, NULL),
                                        'sort', g.aggsortop::regoperator::text)
                  FROM pg_aggregate g WHERE g.aggfnoid = p.oid))
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {_free("pg_proc", "p.oid")}""",
    "type": f"""
SELECT n.nspname, format('%I.%I', n.nspname, t.typname), false, jsonb_build_object('kind', t.typtype,
    'labels', (SELECT jsonb_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid),
    'base', CASE t.typtype WHEN 'd' THEN format_type(t.typbasetype, t.typtypmod) END, 'not null', t.typnotnull,
    'default', t.typdefault, 'collation', (SELECT collname FROM pg_collation o WHERE o.oid = t.typcollation),
    'range', (SELECT jsonb_build_array(format_type(r.rngsubtype, NULL), format_type(r.rngmultitypid, NULL),
              (SELECT collname FROM pg_collation o WHERE o.oid = r.rngcollation), (SELECT opcname FROM pg_opclass o
              WHERE o.oid = r.rngsubopc), r.rngcanonical::text, r.rngsubdiff::text) FROM pg_range r
              WHERE r.rngtypid = t.oid))
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE coalesce(c.relkind, 'c') = 'c' AND NOT (t.typelem <> 0 AND t.typsubscript = 'array_subscript_handler'::regproc)
  AND {_free("pg_type", "t.oid")}""",
    "operator": f"""
SELECT n.nspname, format('%I.%s (%s, %s)', n.nspname, o.oprname, format_type(nullif(o.oprleft, 0), NULL),
    format_type(o.oprright, NULL)), false, jsonb_build_object(
    'owner', pg_get_userbyid(o.oprowner), 'function', o.oprcode::regprocedure::text,
    'commutator', o.oprcom::regoperator::text, 'negator', o.oprnegate::regoperator::text, 'merges', o.oprcanmerge,
    'hashes', o.oprcanhash, 'restrict', o.oprrest::text, 'join', o.oprjoin::text)
FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace WHERE {_free("pg_operator", "o.oid")}""",
    "operator class": f"""
SELECT n.nspname, format('%I.%I using %I', n.nspname, o.opcname, a.amname), false, jsonb_build_object(
    'type', format_type(o.opcintype, NULL), 'default', o.opcdefault, 'operators', (SELECT jsonb_agg(jsonb_build_array(
        x.amopstrategy, x.amopopr::regoperator::text) ORDER BY x.amopstrategy,
        x.amopopr::regoperator::text) FROM pg_amop x WHERE x.amopfamily = o.opcfamily),
    'functions', (SELECT jsonb_agg(jsonb_build_array(x.amprocnum, x.amproc::regprocedure::text) ORDER BY x.amprocnum,
        x.amproc::regprocedure::text)
                  FROM pg_amproc x WHERE x.amprocfamily = o.opcfamily))
FROM pg_opclass o JOIN pg_namespace n ON n.oid = o.opcnamespace JOIN pg_am a ON a.oid = o.opcmethod
WHERE {_free("pg_opclass", "o.oid")}""",
    "collation": f"""
SELECT n.nspname, format('%I.%I', n.nspname, o.collname), false,
    jsonb_build_object('owner', pg_get_userbyid(o.collowner),
    'provider', o.collprovider, 'collate', o.collcollate, 'ctype', o.collctype,
    'deterministic', o.collisdeterministic,
    'locale', coalesce(to_jsonb(o) ->> 'colllocale', to_jsonb(o) ->> 'colliculocale'))
FROM pg_collation o JOIN pg_namespace n ON n.oid = o.collnamespace WHERE {_free("pg_collation", "o.oid")}""",
    "text search configuration": f"""
SELECT n.nspname, format('%I.%I', n.nspname, x.cfgname), false, jsonb_build_object(
    'owner', pg_get_userbyid(x.cfgowner), 'parser',
    (SELECT prsname FROM pg_ts_parser r WHERE r.oid = x.cfgparser), 'map', (SELECT jsonb_agg(jsonb_build_array(
    m.maptokentype, m.mapseqno, m.mapdict::regdictionary::text) ORDER BY m.maptokentype, m.mapseqno)
    FROM pg_ts_config_map m WHERE m.mapcfg = x.oid))
FROM pg_ts_config x JOIN pg_namespace n ON n.oid = x.cfgnamespace WHERE {_free("pg_ts_config", "x.oid")}""",
    "text search dictionary": f"""
SELECT n.nspname, format('%I.%I', n.nspname, x.dictname), false, jsonb_build_object(
    'owner', pg_get_userbyid(x.dictowner), 'options', x.dictinitoption,
    'template', (SELECT tmplname FROM pg_ts_template t WHERE t.oid = x.dicttemplate))
FROM pg_ts_dict x JOIN pg_namespace n ON n.oid = x.dictnamespace WHERE {_free("pg_ts_dict", "x.oid")}""",
    "sequence": f"""
SELECT n.nspname, format('%I.%I', n.nspname, c.relname), false, to_jsonb(s) - '{{seqrelid,seqtypid}}'::text[]
    || jsonb_build_object('type', format_type(s.seqtypid, NULL), 'persistence', c.relpersistence, 'of',
    (SELECT d.refobjid::regclass::text || '.' || a.attname FROM pg_depend d
      JOIN pg_attribute a ON a.attrelid = d.refobjid
     AND a.attnum = d.refobjsubid WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
       AND d.deptype IN ('a', 'i')
     AND d.refclassid = 'pg_class'::regclass))
FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {_free("pg_class", "c.oid")} AND c.relpersistence <> 't'""",
    "statistics": f"""
SELECT n.nspname, format('%I.%I', n.nspname, s.stxname), false,
    jsonb_build_object('owner', pg_get_userbyid(s.stxowner),
    'definition', pg_get_statisticsobjdef(s.oid), 'target', nullif(s.stxstattarget, -1))
FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE {_free("pg_statistic_ext", "s.oid")}""",
    "cast": f"""
SELECT '', format('%s as %s', format_type(c.castsource, NULL), format_type(c.casttarget, NULL)), false,
    jsonb_build_object('function', nullif(c.castfunc, 0)::regprocedure::text,
                       'context', c.castcontext, 'method', c.castmethod)
FROM pg_cast c WHERE c.oid >= 16384 AND {_free("pg_cast", "c.oid")}""",
    "foreign server": f"""
SELECT '', quote_ident(s.srvname), false, jsonb_build_object('wrapper', w.fdwname, 'options', s.srvoptions,
    'type', s.srvtype, 'version', s.srvversion)
FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
  WHERE {_free("pg_foreign_server", "s.oid")}""",
    "publication": """
SELECT '', quote_ident(p.pubname), o.rolname <> 'postgres' AND o.rolname ~ '^supabase_', to_jsonb(p)
    - '{oid,pubname,pubowner,pubgencols}'::text[] || jsonb_build_object('owner', o.rolname,
    'generated columns', coalesce(to_jsonb(p) ->> 'pubgencols', 'n'),
    'tables', (SELECT jsonb_agg(jsonb_build_array(r.prrelid::regclass::text, pg_get_expr(r.prqual, r.prrelid),
        (SELECT jsonb_agg(a.attname ORDER BY a.attname) FROM unnest(r.prattrs::int2[]) k JOIN pg_attribute a
         ON a.attrelid = r.prrelid AND a.attnum = k)) ORDER BY r.prrelid::regclass::text)
        FROM pg_publication_rel r WHERE r.prpubid = p.oid),
    'schemas', (SELECT jsonb_agg(x.pnnspid::regnamespace::text ORDER BY x.pnnspid::regnamespace::text)
                FROM pg_publication_namespace x
                WHERE x.pnpubid = p.oid))
FROM pg_publication p JOIN pg_roles o ON o.oid = p.pubowner""",
    "event trigger": f"""
SELECT n.nspname, quote_ident(e.evtname), n.nspname IN ('extensions', 'graphql', 'pgbouncer', 'net', 'cron'),
    jsonb_build_object('event', e.evtevent, 'tags', e.evttags, 'fires', e.evtenabled,
                       'function', e.evtfoid::regproc::text)
FROM pg_event_trigger e JOIN pg_proc p ON p.oid = e.evtfoid JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE {_free("pg_event_trigger", "e.oid")}""",
    "comment": """
SELECT coalesce(i.schema, CASE i.type WHEN 'schema' THEN i.name ELSE (parse_ident(i.identity, false))[1] END),
    i.type || ' ' || i.identity, false, jsonb_build_object('text', d.description)
FROM pg_description d CROSS JOIN LATERAL pg_identify_object(d.classoid, d.objoid, d.objsubid) i
WHERE d.objoid >= 16384 AND i.type NOT IN ('extension', 'event trigger')
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = d.classoid AND e.objid = d.objoid AND e.deptype = 'e')""",
}
