"""Making and replaying the schema archive: pg_dump and pg_restore, without plaintext on a disk.

The archive comes through a pipe and goes to pg_restore as an anonymous file in memory, which its parallel
workers open by path; where the system has none, as a file that only its owner can read, removed right
after. For example:

    archive = dump_schema(conninfo, snapshot, deadline, server_major=17)
    replay(conninfo, archive.content, entries, deadline, jobs=2)
"""

import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from strongroom.deadline import Deadline
from strongroom.errors import ProgramFailed, SchemaDumpFailed, SchemaRestoreFailed
from strongroom.format.documents import Finding
from strongroom.postgres.archive_toc import TocEntry, entry_name, read_dump_major, read_toc
from strongroom.postgres.client_programs import effective_conninfo, run_program
from strongroom.postgres.connection import connect, snapshot_transaction, translated
from strongroom.postgres.program_failures import translate_failure
from strongroom.postgres.programs import Program, find_program
from strongroom.supabase.scope import table_scope

# pg_dump locks every table that it describes, for which the role needs to be able to read it. The platform
# makes and drops a partition of realtime.messages a day: they would vanish under pg_dump.
_NOT_DUMPED = """
SELECT n.nspname, c.relname, n.nspname = 'realtime' AND c.relispartition
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_'
  AND n.nspname <> 'information_schema'
  AND (NOT has_table_privilege(c.oid, 'SELECT') OR NOT has_schema_privilege(n.oid, 'USAGE')
       OR (n.nspname = 'realtime' AND c.relispartition))
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
    AND d.deptype = 'e')
ORDER BY 1, 2
"""

_TOC_ENTRY = re.compile(r"from TOC entry (\d+);")
_SERVER_ERROR = re.compile(r"ERROR: +(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class SchemaArchive:
    """What pg_dump delivered, and which tables are not in it, with the reason."""

    content: bytes
    findings: tuple[Finding, ...]


def dump_schema(
    conninfo: Mapping[str, str], snapshot: str, deadline: Deadline, server_major: int
) -> SchemaArchive:
    """Dump all definitions as they are in the exported snapshot, in custom format.

    Raises `SchemaDumpFailed` and what `run_program` raises.
    """
    program = find_program("pg_dump", at_least=server_major)
    excluded = _not_dumped(conninfo, snapshot, deadline)
    arguments = ["--format=custom", "--schema-only", "--no-password", f"--snapshot={snapshot}"]
    # What a recovery keeps there while it is under way may be removed at any moment.
    arguments += [f"--exclude-schema=strongroom_{what}" for what in ("restore", "staging", "rollback")]
    arguments += [f"--exclude-table={_pattern(schema, name)}" for schema, name, _ in excluded]
    parts: list[bytes] = []
    try:
        run_program(program, arguments, conninfo, deadline=deadline, stdout=parts.append)
    except ProgramFailed as error:
        raise SchemaDumpFailed(detail=error.context.get("detail", "")) from error
    content = b"".join(parts)
    if not read_toc(content):
        raise SchemaDumpFailed(detail="it delivered an archive without entries")
    return SchemaArchive(content, tuple(_finding(*row) for row in excluded if not row[2]))


def _not_dumped(
    conninfo: Mapping[str, str], snapshot: str, deadline: Deadline
) -> list[tuple[str, str, bool]]:
    with connect(conninfo, deadline) as connection, snapshot_transaction(connection, snapshot), translated():
        return [(schema, name, passing) for schema, name, passing in connection.execute(_NOT_DUMPED)]


def _pattern(schema: str, name: str) -> str:
    """Write a name as a pattern of pg_dump: within double quotes nothing is special."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in (schema, name))


def _finding(schema: str, name: str, _passing: bool) -> Finding:
    is_users = table_scope(schema, name) == "user"
    return Finding(
        severity="error" if is_users else "info",
        code="definition-not-readable",
        object=f"{schema}.{name}",
        observed="the role may not read it, so its definition is not in the backup",
        advice="Grant the role SELECT on it." if is_users else "The platform makes it at the destination.",
    )


# ---------------------------------------------------------------- replaying


def replay(
    conninfo: Mapping[str, str],
    archive: bytes,
    entries: Sequence[TocEntry],
    deadline: Deadline,
    *,
    jobs: int = 1,
    in_one_transaction: bool = False,
) -> None:
    """Make the chosen entries at the destination, in their order; owners and privileges are left alone.

    Raises `SchemaRestoreFailed` at the first statement that fails, and what `run_program` raises.
    """
    if not entries:
        return
    program = find_program("pg_restore", at_least=read_dump_major(archive))
    wanted = "".join(f"{entry.dump_id};\n" for entry in entries).encode()
    with ExitStack() as stack:
        archive_path, archive_fd = stack.enter_context(_in_memory(archive))
        list_path, list_fd = stack.enter_context(_in_memory(wanted))
        # Only when it is verbose does it say which entry failed.
        arguments = ["--dbname=", "--no-password", "--exit-on-error", "--verbose", "--no-owner", "--no-acl"]
        arguments += ["--no-tablespaces", f"--use-list={list_path}"]
        arguments += ["--single-transaction"] if in_one_transaction else [f"--jobs={jobs}"]
        outcome = run_program(
            program,
            [*arguments, archive_path],
            conninfo,
            deadline=deadline,
            pass_fds=[number for number in (archive_fd, list_fd) if number is not None],
            check=False,
        )
    if outcome.status != 0:
        raise _failure(program, outcome.status, outcome.stderr, entries, conninfo)


def _failure(
    program: Program, status: int, stderr: str, entries: Iterable[TocEntry], conninfo: Mapping[str, str]
) -> Exception:
    """Say which object failed, by the entry that pg_restore names; details could hold rows and stay out."""
    named, said = _TOC_ENTRY.search(stderr), _SERVER_ERROR.search(stderr)
    if named is None or said is None:
        secret = effective_conninfo(conninfo).get("password", "")
        return translate_failure(program, status, stderr, secret)
    entry = next((e for e in entries if e.dump_id == int(named.group(1))), None)
    return SchemaRestoreFailed(object=entry_name(entry) if entry else "an object", detail=said.group(1))


@contextmanager
def _in_memory(content: bytes) -> Iterator[tuple[str, int | None]]:
    """Yield a path under which a child process reads `content`, and the descriptor that it must inherit."""
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir():
        number = os.memfd_create("strongroom", os.MFD_CLOEXEC)
        try:
            with open(number, "wb", closefd=False) as file:
                file.write(content)
            yield f"/proc/self/fd/{number}", number
        finally:
            os.close(number)
        return
    # NamedTemporaryFile makes it 0600.
    with tempfile.NamedTemporaryFile(prefix="strongroom-") as file:
        file.write(content)
        file.flush()
        yield file.name, None
