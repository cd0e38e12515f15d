"""Databases for tests: copied from a template that is built once per server, dropped at the end.

quant = databases.make(server, app=True)
psycopg.connect(quant.dsn())
"""

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import psycopg
from psycopg import sql

from strongroom.postgres.embedded import EmbeddedPostgres
from strongroom.shape import build_shape

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Database:
    """One database of a test's server."""

    server: EmbeddedPostgres
    name: str

    def dsn(self, user: str = "postgres") -> str:
        """Return the connection string over the Unix socket; by default as `postgres`, no superuser."""
        return self.server.dsn(user, self.name)

    def conninfo(self, user: str = "postgres") -> dict[str, str]:
        """Return the same as the mapping that the engine takes."""
        return {
            "host": str(self.server.socket_directory),
            "port": str(self.server.port),
            "user": user,
            "dbname": self.name,
        }


MakeDatabase: TypeAlias = Callable[..., Database]
"""What the fixtures `quantforge` and `platform_database` give: called with a server, or with nothing for
`postgres18`, it returns a fresh database."""


class Databases:
    """Makes databases on servers, and knows what has to be dropped again."""

    def __init__(self, templates: dict[tuple[int, bool], str]) -> None:
        """Share `templates`, by server and kind, with everybody else in the session."""
        self._templates = templates
        self._made: list[Database] = []

    def make(self, server: EmbeddedPostgres, *, app: bool) -> Database:
        """Copy the template of the platform with the seeded application, or without an application."""
        key = (id(server), app)
        if key not in self._templates:
            name = "template_quantforge" if app else "template_platform"
            build_shape(_admin(server), name, app=app)
            self._templates[key] = name
        database = Database(server, f"t{os.getpid()}_{next(_numbers)}")
        self._made.append(database)
        _copy(server, self._templates[key], database.name)
        return database

    def drop_all(self) -> None:
        """Drop what was made, also under open connections."""
        while self._made:
            database = self._made.pop()
            with psycopg.connect(_admin(database.server), autocommit=True) as connection:
                name = sql.Identifier(database.name)
                connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))


def _admin(server: EmbeddedPostgres) -> str:
    return server.dsn(server.superuser, "postgres")


def _copy(server: EmbeddedPostgres, template: str, name: str) -> None:
    """Copy a database, with the grants on it and its settings, which CREATE DATABASE leaves behind."""
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER postgres STRATEGY file_copy")
    with psycopg.connect(_admin(server), autocommit=True) as connection:
        connection.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
        connection.execute(
            "UPDATE pg_database AS new SET datacl = old.datacl FROM pg_database AS old"
            " WHERE new.datname = %s AND old.datname = %s",
            [name, template],
        )
        connection.execute(
            "INSERT INTO pg_db_role_setting (setdatabase, setrole, setconfig)"
            " SELECT new.oid, setrole, setconfig FROM pg_db_role_setting"
            " JOIN pg_database AS old ON old.oid = setdatabase, pg_database AS new"
            " WHERE new.datname = %s AND old.datname = %s",
            [name, template],
        )
