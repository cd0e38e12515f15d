"""The table of contents of a schema archive: read exactly, whatever its version and the names in it."""

from dataclasses import replace

import pytest

from strongroom.errors import ArchiveUnreadable
from strongroom.postgres.archive_selection import Action, identity, is_remade_safely, select_entries
from strongroom.postgres.archive_toc import TocEntry, read_dump_major, read_toc
from strongroom.postgres.database_facts import Attachment, DatabaseFacts

SECTIONS = {"none": 1, "pre-data": 2, "data": 3, "post-data": 4}
FACTS = DatabaseFacts(
    format=1, server_version=180000, system_identifier="1", database="postgres", reader="postgres"
)
TABLE = TocEntry(
    5, 1259, 1000, "a b", "TABLE", "pre-data", 'CREATE TABLE "a b" ()', 'S "x"\ny', "postgres", (3, 4)
)


def _integer(value: int) -> bytes:
    return bytes([value < 0]) + abs(value).to_bytes(4, "little")


def _string(value: str | None) -> bytes:
    if value is None:
        return _integer(-1)
    content = value.encode()
    return _integer(len(content)) + content


def _archive(
    *entries: tuple[TocEntry, str], version: tuple[int, int] = (1, 16), program: str = "18.4"
) -> bytes:
    """Write an archive's head by hand, as pg_dump does; each entry comes with the section written for it."""
    parts = [b"PGDMP", bytes([*version, 0, 4, 8, 1])]
    parts.append(b"\x01" if version >= (1, 15) else _integer(-1))
    parts += [_integer(n) for n in (1, 2, 3, 23, 10, 126, 0)]
    parts += [_string("quantforge"), _string("18.4"), _string(program), _integer(len(entries))]
    for entry, section in entries:
        parts += [
            _integer(entry.dump_id),
            _integer(0),
            _string(str(entry.catalog_oid)),
            _string(str(entry.oid)),
        ]
        parts += [_string(entry.tag), _string(entry.description), _integer(SECTIONS[section])]
        parts += [_string(entry.definition), _string("DROP"), _string(None), _string(entry.schema)]
        parts += [_string(None), _string("heap")]
        parts += [_integer(114)] if version >= (1, 16) else []
        parts += [_string(entry.owner), _string("false")]
        parts += [_string(str(i)) for i in entry.depends_on] + [_string(None)]
        parts.append(b"\x03" + bytes(8))
    return b"".join(parts)


@pytest.mark.parametrize("version", [(1, 14), (1, 15), (1, 16)])
def test_an_entry_is_read_as_it_was_written(version: tuple[int, int]) -> None:
    """Names with spaces, quotes and line breaks come out whole, in every known version of the archive."""
    assert read_toc(_archive((TABLE, "pre-data"), version=version)) == (TABLE,)


def test_a_comment_belongs_to_the_section_before_it() -> None:
    """Entries without a section are made where they stand, as pg_restore makes them."""
    comment = replace(TABLE, dump_id=6, description="COMMENT", phase="pre-data")
    index = replace(TABLE, dump_id=7, description="INDEX", phase="post-data")
    late = replace(comment, dump_id=8, phase="post-data")
    archive = _archive((TABLE, "pre-data"), (comment, "none"), (index, "post-data"), (late, "none"))
    assert [e.phase for e in read_toc(archive)] == ["pre-data", "pre-data", "post-data", "post-data"]


def test_every_cut_is_noticed() -> None:
    """An archive that ends too early is an error wherever it was cut, and never another exception."""
    archive = _archive((TABLE, "pre-data"), (TABLE, "pre-data"))
    for length in range(len(archive)):
        with pytest.raises(ArchiveUnreadable):
            read_toc(archive[:length])
    assert len(read_toc(archive)) == 2


@pytest.mark.parametrize("version", [(1, 13), (1, 17), (2, 0)])
def test_an_unknown_version_is_refused(version: tuple[int, int]) -> None:
    """An archive of another layout is refused by its version, not misread."""
    with pytest.raises(ArchiveUnreadable, match=f"{version[0]}.{version[1]}"):
        read_toc(_archive((TABLE, "pre-data"), version=version))


def test_something_else_is_refused() -> None:
    """What is no archive of pg_dump in custom format is refused."""
    for content in (b"", b"-- PostgreSQL database dump", b"PGDMP\x01\x10\x00\x04\x08\x03"):
        with pytest.raises(ArchiveUnreadable):
            read_toc(content)


@pytest.mark.parametrize(("program", "major"), [("18.4", 18), ("17.2 (Debian 17.2-1)", 17), ("19beta1", 19)])
def test_the_version_of_pg_dump_is_read(program: str, major: int) -> None:
    """The archive says which pg_dump made it, also a beta."""
    assert read_dump_major(_archive(program=program)) == major


# ---------------------------------------------------------------- decisions


def _entry(description: str, schema: str, tag: str, owner: str = "postgres", **changes: object) -> TocEntry:
    base = TocEntry(1, 0, 0, tag, description, "pre-data", "CREATE", schema, owner, ())
    return replace(base, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("entry", "action"),
    [
        (_entry("TABLE", "public", "robots"), "restore"),
        (_entry("TABLE", "public", "robots", "supabase_admin"), "restore"),
        (_entry("FUNCTION", "authentic", "f()"), "restore"),
        (_entry("TABLE", "auth", "users", "supabase_auth_admin"), "platform"),
        (_entry("FUNCTION", "auth", "mine()"), "attempt"),
        (_entry("TABLE", "extensions", "mine"), "restore"),
        (_entry("FUNCTION", "extensions", "pgrst_ddl_watch()", "supabase_admin"), "platform"),
        (_entry("TABLE", "supabase_migrations", "schema_migrations"), "restore"),
        (_entry("ACL", "public", "TABLE robots"), "own"),
        (_entry("DEFAULT ACL", "public", "DEFAULT PRIVILEGES FOR TABLES"), "own"),
        (_entry("SCHEMA", "", "private"), "own"),
        (_entry("EXTENSION", "", "vector", ""), "own"),
        (_entry("COMMENT", "", "EXTENSION vector", ""), "own"),
        (_entry("COMMENT", "", "SCHEMA private"), "restore"),
        (_entry("COMMENT", "", "SCHEMA auth", "supabase_admin"), "platform"),
        (_entry("PUBLICATION", "", "quant_feed"), "own"),
        (_entry("EVENT TRIGGER", "", "pgrst_drop_watch", "supabase_admin"), "platform"),
        (_entry("EVENT TRIGGER", "", "ensure_rls", "supabase_admin"), "attempt"),
        (_entry("TRIGGER", "auth", "users on_auth_user_created", "supabase_auth_admin"), "attempt"),
        (
            _entry("TRIGGER", "storage", "objects protect_objects_delete", "supabase_storage_admin"),
            "platform",
        ),
        (_entry("ROW SECURITY", "auth", "users", "supabase_auth_admin"), "platform"),
        (_entry("SERVER", "", "remote"), "restore"),
        (_entry("FOREIGN DATA WRAPPER", "", "wrapper", "supabase_admin"), "platform"),
        (_entry("CAST", "", "CAST (a AS b)", ""), "restore"),
        (_entry("SECURITY LABEL", "public", "COLUMN a.b"), "attempt"),
    ],
)
def test_each_kind_of_entry_has_its_maker(entry: TocEntry, action: Action) -> None:
    """The user's objects are restored, the platform's are left alone, and what may be refused is tried apart."""
    facts = DatabaseFacts(
        format=1,
        server_version=180000,
        system_identifier="1",
        database="postgres",
        reader="postgres",
        attachments=(
            Attachment(kind="TRIGGER", schema="auth", tag="users on_auth_user_created"),
            Attachment(kind="EVENT TRIGGER", schema="", tag="ensure_rls"),
        ),
    )
    assert [d.action for d in select_entries([entry], facts, frozenset())] == [action]


def test_what_the_destination_has_in_the_platforms_schemas_is_left_alone() -> None:
    """The schema of migrations is made only where it is missing."""
    table = _entry("TABLE", "supabase_migrations", "schema_migrations")
    present = frozenset({("RELATION", "supabase_migrations", "schema_migrations")})
    assert [d.action for d in select_entries([table], FACTS, present)] == ["platform"]


def test_a_comment_goes_the_way_of_its_object() -> None:
    """A comment on what is tried apart is tried apart, and on what is left alone is left alone."""
    facts = DatabaseFacts(
        format=1,
        server_version=180000,
        system_identifier="1",
        database="postgres",
        reader="postgres",
        attachments=(Attachment(kind="POLICY", schema="storage", tag="objects mine"),),
    )
    entries = [
        _entry("POLICY", "storage", "objects mine", "supabase_storage_admin", dump_id=7),
        _entry("COMMENT", "storage", "POLICY mine ON objects", "supabase_storage_admin", depends_on=(7,)),
        _entry("TABLE", "storage", "objects", "supabase_storage_admin", dump_id=9),
        _entry("COMMENT", "storage", "TABLE objects", "supabase_storage_admin", depends_on=(9,)),
    ]
    actions = [d.action for d in select_entries(entries, facts, frozenset())]
    assert actions == ["attempt", "attempt", "platform", "platform"]


def test_only_what_changes_something_may_run_again() -> None:
    """A trigger's entry for a partition sets its state and may run again; one that makes a trigger may not."""
    made = _entry("TRIGGER", "public", "part t", definition="\nCREATE TRIGGER t …")
    set_only = _entry(
        "TRIGGER", "public", "part_a t", definition="ALTER TABLE public.part_a DISABLE TRIGGER t;"
    )
    attach = _entry("INDEX ATTACH", "public", "part_a_pkey", definition="ALTER INDEX …")
    assert [is_remade_safely(e) for e in (made, set_only, attach)] == [False, True, True]
    assert identity(attach) is None
