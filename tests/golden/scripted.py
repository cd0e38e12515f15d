"""What the golden repository holds: two backups of a small source, written down by hand, without a database.

Between the full and the incremental some rows died and others came; everything that the format can say
happens at least once. `expected_rows` is worked out from this script alone, never from stored bytes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from strongroom.format.documents import Column, ForeignKey, TableFacts, UniqueKey
from strongroom.postgres.database_facts import DatabaseFacts, Role, encode_facts
from strongroom.postgres.large_objects import LargeObjectHead, LargeObjectSlice
from strongroom.repository.collections import FACTS, LARGE_OBJECTS, SCHEMA, SECRETS
from strongroom.supabase.vault_secrets import VaultSecret

Rows = tuple[bytes, ...]


@dataclass(frozen=True)
class Change:
    """What happened to an extent after the full: positions that died, chunk by chunk, and rows that came."""

    dead: tuple[tuple[int, ...], ...] = ()
    added: Rows = ()


@dataclass(frozen=True)
class ScriptedTable:
    """A table: its extents in the full, each a row of chunks; what changed, by extent; the extents that came."""

    facts: TableFacts
    width: int
    extents: tuple[tuple[Rows, ...], ...]
    changes: Mapping[int, Change] = field(default_factory=dict)
    grown: tuple[tuple[Rows, ...], ...] = ()

    def layers(self, number: int, *, changed: bool) -> list[Rows]:
        """Return the living rows of an extent, layer by layer, before or after the changes."""
        if number >= len(self.extents):
            return list(self.grown[number - len(self.extents)])
        layers = list(self.extents[number])
        change = self.changes.get(number)
        if change is None or not changed:
            return layers
        alive = [
            tuple(row for place, row in enumerate(rows) if place not in dead)
            for rows, dead in zip(layers, change.dead, strict=True)
        ]
        return [rows for rows in (*alive, change.added) if rows]

    def count(self, *, changed: bool) -> int:
        """Return how many extents there are."""
        return len(self.extents) + (len(self.grown) if changed else 0)


def expected_rows(table: ScriptedTable, *, changed: bool) -> bytes:
    """Return the COPY text that a restore of the table must produce."""
    numbers = range(table.count(changed=changed))
    return b"".join(
        row for number in numbers for rows in table.layers(number, changed=changed) for row in rows
    )


# ------------------------------------------------------------------------------------------ tables


def _column(number: int, name: str, kind: tuple[str, int], generated: str = "", identity: str = "") -> Column:
    return Column(
        name=name,
        number=number,
        type=kind[0],
        type_oid=kind[1],
        type_modifier=-1,
        not_null=number == 1,
        generated=generated,
        identity=identity,
    )


_BIGINT, _TEXT, _NUMERIC = ("bigint", 20), ("text", 25), ("numeric", 1700)


def _facts(oid: int, name: str, *columns: Column, schema: str = "public") -> TableFacts:
    return TableFacts(
        oid=oid,
        schema=schema,
        name=name,
        file_node=oid + 1,
        persistence="p",
        access_method="heap",
        columns=columns,
        size=8192,
    )


_STRATEGIES = ScriptedTable(
    facts=msgspec.structs.replace(
        _facts(
            16401,
            "strategies",
            _column(1, "id", _BIGINT, identity="a"),
            _column(2, "name", _TEXT),
            _column(3, "risk", ("public.risk", 16390)),
        ),
        type_facts=("enum public.risk: low, high",),
        unique_keys=(UniqueKey(name="strategies_pkey", columns=("id",), primary=True),),
    ),
    width=4,
    # The first extent has three chunks, as where TOAST expands; its rows show all that COPY text escapes.
    extents=(
        (
            tuple(f"{n}\tmean reversion {n}\tlow\n".encode() for n in range(1, 41)),
            (b"41\ttab \\t line \\n return \\r backslash \\\\\thigh\n", b"42\t\\N\t\\N\n", b"43\t\tlow\n"),
            ("44\tприбыль · 利润 · \U0001f4c8\tlow\n".encode(), b"45\t\\\\.\thigh\n"),
        ),
        (tuple(f"{n}\tmomentum\thigh\n".encode() for n in range(46, 52)),),
    ),
)

_TRADES = ScriptedTable(
    facts=msgspec.structs.replace(
        _facts(16411, "trades", _column(1, "id", _BIGINT), _column(2, "price", _NUMERIC)),
        foreign_keys=(
            ForeignKey(
                name="trades_strategy_fkey",
                columns=("id",),
                to_schema="public",
                to_table="strategies",
                to_columns=("id",),
            ),
        ),
    ),
    width=8,
    extents=(
        (tuple(f"{n}\t{n * 37 % 1000}.{n % 10}\n".encode() for n in range(600)),),
        (tuple(f"{n}\t7.25\n".encode() for n in range(600, 640)),),
    ),
    # From 6 to 200 and from 200 to 599 are gaps of two bytes.
    changes={0: Change(dead=((5, 6, 200, 599),), added=(b"5\t185.6\n", b"700\tNaN\n", b"701\t-0.0\n"))},
    grown=((tuple(f"{n}\t1e-7\n".encode() for n in range(800, 810)),),),
)

_TICKS = ScriptedTable(
    facts=_facts(16421, "ticks", _column(1, "last_digit", ("integer", 23))),
    width=256,
    extents=((tuple(b"%d\n" % (n % 10) for n in range(16_500)),),),
    # A gap of three bytes.
    changes={0: Change(dead=((0, 16_450),))},
)

_EMPTY = ScriptedTable(facts=_facts(16431, "empty", _column(1, "id", _BIGINT)), width=8, extents=())

_EMPTIED = ScriptedTable(
    facts=_facts(16441, "emptied", _column(1, "id", _BIGINT)),
    width=8,
    extents=(((b"1\n", b"2\n"), (b"3\n",)),),
    changes={0: Change(dead=((0, 1), (0,)))},
)

_MARKS = ScriptedTable(
    facts=_facts(16451, "marks"),
    width=8,
    extents=(((b"\n", b"\n", b"\n"),),),
    changes={0: Change(dead=((1,),), added=(b"\n", b"\n"))},
)

_ODD = ScriptedTable(
    facts=_facts(
        16461,
        'odd / "name"\nтаблица\\..',
        _column(1, 'say "id"', _BIGINT),
        _column(2, "twice", _BIGINT, generated="s"),
        _column(3, "tab\there", _TEXT),
        schema='Quant "Forge"',
    ),
    width=8,
    extents=(((b"1\ta\n", b"2\tb\n"),),),
)

_USERS = ScriptedTable(
    facts=msgspec.structs.replace(
        _facts(16471, "users", _column(1, "id", ("uuid", 2950)), schema="auth"), managed=True
    ),
    width=8,
    extents=(((b"00000000-0000-4000-8000-000000000001\n", b"00000000-0000-4000-8000-000000000002\n"),),),
    changes={0: Change(dead=((0,),))},
)

TABLES = (_STRATEGIES, _TRADES, _TICKS, _EMPTY, _EMPTIED, _MARKS, _ODD, _USERS)

UNITS: tuple[tuple[tuple[int, int, int | None], ...], ...] = (
    ((0, 0, None),),
    ((1, 0, 1),),
    ((1, 1, None),),
    tuple((table, 0, None) for table in range(2, len(TABLES))),
)
"""The units from number 1 on: (table, first extent, end) each; the table `trades` is read by two of them."""


# ------------------------------------------------------------------------------------- collections

_FACTS = DatabaseFacts(
    format=1,
    server_version=180000,
    system_identifier="7300000000000000001",
    database="postgres",
    reader="postgres",
    roles=(Role(name="trader", login=True),),
)


def _frames() -> Iterator[bytes]:
    for frame in (LargeObjectHead(16500, "a curve"), LargeObjectSlice(0, bytes(range(256)))):
        content = msgspec.msgpack.encode(frame)
        yield len(content).to_bytes(4, "big") + content


def collections(*, changed: bool) -> dict[str, Rows]:
    """Return what each collection holds, piece by piece; in the incremental there are no large objects."""
    secret = VaultSecret(id="00000000-0000-4000-8000-0000000000aa", name="k", description="", secret="hush")
    return {
        SCHEMA: (b"PGDMP, or rather: not a real archive. " * 40, bytes(range(256)), b"its end"),
        FACTS: (encode_facts(_FACTS),),
        LARGE_OBJECTS: () if changed else tuple(_frames()),
        SECRETS: (msgspec.json.encode([secret]),),
    }
