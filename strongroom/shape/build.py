"""Building the shape: roles of the cluster, platform of a database, application, seed rows.

The administrator must be the superuser `supabase_admin`, as on hosted projects: what the platform owns
is owned by it. The application is made by `postgres`, which is no superuser, as a customer would. Example:

    build_shape(server.dsn("supabase_admin", "postgres"), "quantforge", scale=1)
    build_platform(server.dsn("supabase_admin", "postgres"), "restored")
"""

from collections.abc import Mapping
from importlib import resources

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

_ROLES = "00_roles.sql"
_PLATFORM = "10_platform.sql"
_APPLICATION = "20_quantforge.sql"
_SEED = "30_seed.sql"
_PRIVILEGED = "40_privileged.sql"


def build_shape(
    admin_dsn: str,
    database: str,
    *,
    scale: int = 1,
    app: bool = True,
    seed: bool = True,
    password: str = "postgres",  # noqa: S107 - of a throw-away server, known to everybody
    settings: Mapping[str, str] | None = None,
) -> None:
    """Make `database` anew (one of that name is dropped), with the platform and the application.

    Scale 50 seeds 1.6 M rows, about 330 MB. `password` becomes the one of role `postgres` in the whole
    cluster. `settings` are the knobs named at the top of the platform's SQL, without their prefix:
    `{"auto_expose": "off"}`.
    """
    prepare_roles(admin_dsn, password=password)
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        name = sql.Identifier(database)
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(name))
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER postgres").format(name))
    _run(make_conninfo(admin_dsn, dbname=database), _PLATFORM, settings or {})
    if not app:
        return
    customer = make_conninfo(admin_dsn, dbname=database, user="postgres", password=password)
    _run(customer, _APPLICATION, {})
    if seed:
        _run(customer, _SEED, {"scale": str(scale)})
    # Hosted projects let role postgres do these through supautils, which a plain server lacks.
    _run(make_conninfo(admin_dsn, dbname=database), _PRIVILEGED, {})


def build_platform(
    admin_dsn: str,
    database: str,
    *,
    password: str = "postgres",  # noqa: S107 - of a throw-away server, known to everybody
    settings: Mapping[str, str] | None = None,
) -> None:
    """Make `database` anew as a fresh Supabase project without an application: what restores write to."""
    build_shape(admin_dsn, database, app=False, password=password, settings=settings)


def prepare_roles(admin_dsn: str, *, password: str = "postgres") -> None:  # noqa: S107 - as above
    """Make the roles of a hosted project, which belong to the whole cluster; those there are set right."""
    _run(admin_dsn, _ROLES, {"postgres_password": password})


def _run(dsn: str, script: str, settings: Mapping[str, str]) -> None:
    """Run one file of the shape in a session of its own, with the knobs that it reads."""
    text = resources.files("strongroom.shape").joinpath(script).read_bytes()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET statement_timeout = 0")
        for name, value in settings.items():
            connection.execute("SELECT set_config(%s, %s, false)", (f"shape.{name}", value))
        connection.execute(text)
