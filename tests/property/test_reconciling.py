"""Whatever happens to tables, `exact` gives back the recovery point, and merging harms no row that is there.

Rows are compared as COPY text, by other means than the engine's. Between comparing and applying the application goes
on: it commits, rolls back, and ends transactions that were open, with subtransactions, while it was being compared.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strongroom.deadline import Deadline
from strongroom.errors import ReferencesWouldBreak, ValueTaken
from strongroom.format.recovery_plans import Strategy
from strongroom.postgres.connection import Connection, connect
from strongroom.recovery import applying, comparing
from strongroom.recovery.comparison import Matched
from strongroom.recovery.locking import lock_at_once
from tests.conftest import MakeDatabase
from tests.staged import Staged

Session: TypeAlias = psycopg.Connection[tuple[Any, ...]]
Rows: TypeAlias = Counter[bytes]

_TABLES = """
DROP SCHEMA IF EXISTS app CASCADE; CREATE SCHEMA app;
CREATE TABLE app.plain (id int PRIMARY KEY, name text, price numeric, ratio float8, doc json,
    twice int GENERATED ALWAYS AS (id * 2) STORED);
CREATE TABLE app.pairs (a int, b text, doc jsonb, at timestamptz, PRIMARY KEY (a, b));
CREATE TABLE app.bare (a int, b text, c numeric);
CREATE TABLE app.swaps (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, place int NOT NULL UNIQUE, name text,
    span int4range, EXCLUDE USING gist (span WITH &&));
CREATE TABLE app.tree (id int PRIMARY KEY, parent int REFERENCES app.tree, name text);
CREATE TABLE app.left_side (id int PRIMARY KEY, other int, name text);
CREATE TABLE app.right_side (id int PRIMARY KEY, other int REFERENCES app.left_side ON DELETE CASCADE, name text);
ALTER TABLE app.left_side ADD FOREIGN KEY (other) REFERENCES app.right_side DEFERRABLE INITIALLY DEFERRED;
CREATE TABLE app.noise (id serial PRIMARY KEY);
CREATE TABLE app.words ("Key" text COLLATE "C" UNIQUE NOT NULL, value bytea);
"""
_NAMES = ("plain", "pairs", "bare", "swaps", "tree", "left_side", "right_side", "words")
_TEXTS = "(ARRAY['', NULL, E'tab\\t', 'ünï', E'back\\\\slash', 'x'])[1 + (g + {r}) % 6]"

# `{r}` makes rows differ from statement to statement, `{g}` is a series of numbers.
_INSERTS = {
    "plain": f"INSERT INTO app.plain SELECT g, {_TEXTS},"
    " (ARRAY['1.0', '1.00', 'NaN', '0'])[1 + (g + {r}) % 4]::numeric,"
    " (ARRAY['0', '-0', 'NaN', '0.1'])[1 + (g + {r}) % 4]::float8, json_build_object('g', g + {r}) FROM {g}",
    "pairs": "INSERT INTO app.pairs SELECT g, 'b' || g % 3, jsonb_build_object('r', {r}), to_timestamp(g) FROM {g}",
    "bare": f"INSERT INTO app.bare SELECT g % 5, {_TEXTS}, (ARRAY['1.0', '1.00'])[1 + g % 2]::numeric FROM {{g}}",
    "swaps": "INSERT INTO app.swaps OVERRIDING SYSTEM VALUE"
    " SELECT g, g + 1000 * {r}, 'n' || {r}, int4range(g * 10 + 100000 * {r}, g * 10 + 9 + 100000 * {r}) FROM {g}",
    "tree": "INSERT INTO app.tree SELECT g, CASE WHEN g % 4 > 0 THEN g - 1 END, 'r{r}' FROM {g}",
    "left_side": "INSERT INTO app.left_side SELECT g, CASE WHEN {r} > 0 THEN g END, 'r{r}' FROM {g}",
    "right_side": "INSERT INTO app.right_side SELECT g, CASE WHEN {r} > 0 THEN g END, 'r{r}' FROM {g}",
    "words": "INSERT INTO app.words SELECT 'w' || g, decode(md5(g::text || {r}), 'hex') FROM {g}",
}
_UPDATES = {
    "plain": "UPDATE app.plain SET name = 'u{r}', price = price * 1.0, ratio = -ratio WHERE id % {m} = 0",
    "pairs": "UPDATE app.pairs SET doc = jsonb_build_object('u', {r}), b = 'c' || {r} WHERE a % {m} = 0",
    "bare": "UPDATE app.bare SET b = 'u{r}' WHERE a % {m} = 0",
    "swaps": "UPDATE app.swaps SET place = -place - 1, span = int4range(-upper(span), -lower(span)), name = 'u{r}';"
    " UPDATE app.swaps SET place = 7000 + place, span = int4range(9000000 - upper(span), 9000000 - lower(span))"
    " WHERE id % {m} = 0",
    "tree": "UPDATE app.tree SET parent = NULL, name = 'u{r}' WHERE id % {m} = 0",
    "left_side": "UPDATE app.left_side SET name = 'u{r}', other = NULL WHERE id % {m} = 0",
    "right_side": "UPDATE app.right_side SET name = 'u{r}', other = NULL WHERE id % {m} = 0",
    "words": 'UPDATE app.words SET "Key" = upper("Key") WHERE length("Key") % {m} = 0',
}
_KEYS = {"pairs": "a", "bare": "a", "words": 'length("Key")'}


@st.composite
def changes(draw: st.DrawFn) -> str:
    """Draw something that an application, or an accident, does to one table."""
    table = draw(st.sampled_from(_NAMES))
    r, m = draw(st.integers(1, 50)), draw(st.integers(1, 5))
    match draw(st.sampled_from(["insert", "update", "delete", "truncate", "touch", "swap"])):
        case "insert":
            first = draw(st.sampled_from([30, 41, 60]))
            return _INSERTS[table].format(r=r, g=f"generate_series({first}, {first + m}) g")
        case "update":
            return _UPDATES[table].format(r=r, m=m)
        case "delete":
            return f"DELETE FROM app.{table} WHERE {_KEYS.get(table, 'id')} % {m + 1} = 0"
        case "truncate":
            return f"TRUNCATE app.{table} CASCADE"
        case "touch":
            return f"UPDATE app.{table} SET {'a = a' if table in ('pairs', 'bare') else _same(table)}"
        case _:
            # The first gets the last one's place, and so on.
            return f"UPDATE app.swaps SET place = -place - 1; UPDATE app.swaps SET place = {40 + m} + place"


def _same(table: str) -> str:
    return "value = value" if table == "words" else "name = name"


class World:
    """A database, the session that recovers, and those that write."""

    def __init__(self, connection: Connection, sessions: list[Session]) -> None:
        self.connection = connection
        self.writer, self.other = sessions

    def begin(self) -> None:
        """Make all tables anew, with some rows."""
        self.other.rollback()
        self.connection.execute("DROP SCHEMA IF EXISTS strongroom_staging CASCADE")
        self.writer.execute(_TABLES)
        for name in _NAMES:
            self.writer.execute(_INSERTS[name].format(r=0, g="generate_series(0, 40) g").encode())
        self.writer.execute("UPDATE app.right_side SET other = id; UPDATE app.left_side SET other = id")

    def write(self, session: Session, statement: str) -> None:
        """Run a statement; what the server refuses has changed nothing."""
        try:
            with session.transaction():
                session.execute(statement.encode())
        except psycopg.Error:
            return

    def writing_late(self, statements: list[str]) -> Callable[..., None]:
        """Return what locks tables after the writer has run some statements; nobody waits for rows that are held."""

        def lock(connection: Connection, tables: Sequence[Matched]) -> None:
            for statement in statements:
                self.write(self.writer, statement)
            self.writer.execute("INSERT INTO app.noise DEFAULT VALUES")
            lock_at_once(connection, tables)

        return lock

    def rows(self) -> dict[str, Rows]:
        """Read all tables, generated columns included."""
        return {name: self.copy(f"SELECT * FROM app.{name}") for name in _NAMES}

    def copy(self, query: str) -> Rows:
        """Return the rows of a query as COPY text."""
        with self.writer.cursor() as cursor, cursor.copy(f"COPY ({query}) TO STDOUT".encode()) as copy:
            return Counter(bytes(row) for row in copy)


@pytest.fixture
def world(quantforge: MakeDatabase) -> Iterator[World]:
    """Open the sessions; the writers' may do damage that foreign keys would not allow."""
    database = quantforge()
    with (
        connect(database.conninfo(), Deadline.after(120, "test")) as connection,
        psycopg.connect(database.dsn(), autocommit=True) as writer,
        psycopg.connect(database.dsn()) as other,
    ):
        connection.execute("SET session_replication_role = replica")
        for session in (writer, other):
            session.execute("SET session_replication_role = replica; SET lock_timeout = '20ms'")
        other.commit()
        yield World(connection, [writer, other])


_PROPERTY = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
_SCOPE = [f"app.{name}" for name in _NAMES]


@_PROPERTY
@given(
    damage=st.lists(changes(), min_size=1, max_size=6),
    open_work=st.lists(changes(), max_size=3),
    ends=st.booleans(),
    later=st.tuples(st.lists(changes(), max_size=4), st.lists(changes(), max_size=2)),
    way=st.tuples(st.sampled_from([0, 0, 1]), st.booleans()),
)
def test_exact_gives_back_the_recovery_point(
    world: World,
    damage: list[str],
    open_work: list[str],
    ends: bool,
    later: tuple[list[str], list[str]],
    way: tuple[int, bool],
) -> None:
    """Every row is as it was, though the application wrote on, and had transactions open, while it was compared.

    The last of it comes after rows have been touched, and before the tables are locked.
    """
    meanwhile, late = later
    rounds, is_early = way
    world.begin()
    expected = world.rows()
    point = Staged.take(world.connection, _SCOPE, strategy="exact")
    # If it is older than the damage, all of that is newer than the snapshot's oldest transaction.
    world.other.execute("INSERT INTO app.noise DEFAULT VALUES" if is_early else "SELECT")
    for statement in damage:
        world.write(world.writer, statement)
    for statement in open_work:
        # Each is a subtransaction of one that is still open when the comparison begins.
        if "TRUNCATE" not in statement:
            world.write(world.other, statement)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(applying, "_ROUNDS", rounds)
        patch.setattr(applying, "lock_at_once", world.writing_late(late))
        point.compare()
        (world.other.commit if ends else world.other.rollback)()
        for statement in meanwhile:
            world.write(world.writer, statement)
        report = point.apply()
    assert expected == world.rows()
    confirmed = point.confirm()
    assert dict.fromkeys(_SCOPE, 0) == {name: one.differing for name, one in confirmed.items()}
    assert not report.already_done


@_PROPERTY
@given(
    damage=st.lists(changes(), min_size=1, max_size=6),
    meanwhile=st.lists(changes(), max_size=3),
    strategy=st.sampled_from(["merge_missing", "merge_overwrite"]),
)
def test_merging_leaves_alone_what_it_must(
    world: World, damage: list[str], meanwhile: list[str], strategy: Strategy
) -> None:
    """`merge_missing` changes and deletes no row; `merge_overwrite` touches no row that only live has."""
    world.begin()
    point = Staged.take(world.connection, _SCOPE, strategy=strategy)
    for statement in damage:
        world.write(world.writer, statement)
    point.compare()
    for statement in meanwhile:
        world.write(world.writer, statement)
    before = world.rows()
    only_live = {name: _only_live(world, point, place) for place, name in enumerate(_NAMES)}
    try:
        point.apply()
    except (ValueTaken, ReferencesWouldBreak):
        # A row of the backup does not fit beside the rows that are there: nothing was changed.
        assert before == world.rows()
        return
    after = world.rows()
    for name in _NAMES:
        kept = before[name] if strategy == "merge_missing" else only_live[name]
        assert kept <= after[name], name


def _only_live(world: World, point: Staged, number: int) -> Rows:
    """Return the live rows whose key was not in the backup: asked in plain SQL."""
    return world.copy(f"SELECT * FROM app.{_NAMES[number]} AS t WHERE {_not_staged(point, number)}")


_CONDITIONS = {"plain": "id % 2 = 0", "pairs": "a < 20", "bare": "a = 3", "words": 'length("Key") = 2'}


@_PROPERTY
@given(
    damage=st.lists(changes(), min_size=1, max_size=6),
    meanwhile=st.lists(changes(), max_size=3),
    is_counted=st.booleans(),
)
def test_a_condition_limits_what_comes_back(
    world: World, damage: list[str], meanwhile: list[str], is_counted: bool
) -> None:
    """What meets it is as it was; of the rest nothing changes, but for rows that met it at the recovery point."""
    world.begin()
    wanted = {name: world.copy(f"SELECT * FROM app.{name} WHERE {c}") for name, c in _CONDITIONS.items()}
    point = Staged.take(
        world.connection,
        [f"app.{name}" for name in _CONDITIONS],
        where={f"app.{name}": condition for name, condition in _CONDITIONS.items()},
    )
    for statement in damage:
        world.write(world.writer, statement)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparing, "CHEAP_ROWS", 0 if is_counted else 100_000)
        point.compare()
        for statement in meanwhile:
            world.write(world.writer, statement)
        others = {
            name: world.copy(
                f"SELECT * FROM app.{name} AS t WHERE NOT ({condition}) AND {_not_staged(point, place)}"
            )
            for place, (name, condition) in enumerate(_CONDITIONS.items())
        }
        point.apply()
    for name, condition in _CONDITIONS.items():
        assert wanted[name] == world.copy(f"SELECT * FROM app.{name} WHERE {condition}"), name
        assert others[name] == world.copy(f"SELECT * FROM app.{name} WHERE NOT ({condition})"), name
    assert 0 == sum(one.differing for one in point.confirm().values())


def _not_staged(point: Staged, number: int) -> str:
    """Return the SQL condition that a row of the alias `t` has a key that the recovery point does not have."""
    table = point.matched()[number]
    if not table.mapped.key:
        return "true"
    same = " AND ".join(f't."{name}" = s."{name}"' for name in table.mapped.key)
    return f"NOT EXISTS (SELECT FROM {table.staged} AS s WHERE {same})"
