"""Login roles that lack something which `postgres` has; a role is of the whole server, so each is dropped.

with role_without(database, "SELECT ON public.candles") as role:
    psycopg.connect(database.dsn(role))
"""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tests.databases import Database

_numbers = itertools.count(1)

_GRANT_ALL = """
DO $$
DECLARE found record;
BEGIN
    FOR found IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO {role}', found.nspname);
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO {role}', found.nspname);
        EXECUTE format('GRANT SELECT ON ALL SEQUENCES IN SCHEMA %I TO {role}', found.nspname);
    END LOOP;
END $$
"""


@contextmanager
def role_without(database: Database, revoked: str = "", *, attributes: str = "BYPASSRLS") -> Iterator[str]:
    """Make a role that may read everything in `database` but for what is `revoked`; drop it in the end."""
    role = f"reader_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(database.dsn("supabase_admin"), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN {attributes}")
        try:
            connection.execute(_GRANT_ALL.replace("{role}", role))
            if revoked:
                connection.execute(f"REVOKE {revoked} FROM {role}")
            yield role
        finally:
            connection.execute(f"DROP OWNED BY {role}")
            connection.execute(f"DROP ROLE {role}")
