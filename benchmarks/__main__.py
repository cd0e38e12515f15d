"""Backup and restore side by side with pg_dump and pg_restore, in one run.

    python -m benchmarks [--trades 4000000] [--json]

Everything runs on a throw-away Postgres 18 on this machine; the database server's own time and memory are in
the wall time and not in the other figures. pg_dump and pg_restore are those of the same Postgres.

Beside it stand `python -m benchmarks.locations`, on buckets and copying, and `python -m benchmarks.retention`.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from benchmarks.generated import generate, update_at_random
from benchmarks.measuring import Cost, measured
from strongroom.config import Settings, load_settings
from strongroom.deadline import Deadline
from strongroom.keys import create_keys, load_keyring
from strongroom.operations.messages import Message
from strongroom.postgres.embedded import EmbeddedPostgres
from strongroom.postgres.programs import find_program
from strongroom.repository.locations import open_location
from strongroom.repository.repository import Repository
from strongroom.runners import Answer, InChildren, InThisProcess
from strongroom.shape import prepare_roles
from strongroom.whole import back_up, restore

_PASSPHRASE = "benchmark"  # noqa: S105 - of keys that live for one run


def main() -> None:
    """Run the benchmark and print it."""
    arguments = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    arguments.add_argument("--trades", type=int, default=4_000_000)
    arguments.add_argument("--json", action="store_true")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="strongroom-benchmark-") as folder:
        settings = {"shared_buffers": "512MB", "max_wal_size": "8GB", "autovacuum": "off"}
        with EmbeddedPostgres(major=18, settings=settings) as server:
            prepare_roles(server.dsn(server.superuser, "postgres"))
            run = _Run(server, Path(folder), given.trades)
            run.all()
    print(json.dumps(run.figures, indent=1) if given.json else run.text())


class _Run:
    """One run: the same database through both tools, step by step."""

    def __init__(self, server: EmbeddedPostgres, folder: Path, trades: int) -> None:
        self._server = server
        self._folder = folder
        self._trades = trades
        self.figures: dict[str, dict[str, float]] = {}

    def all(self) -> None:
        """Run every step; each restore goes into a database of its own."""
        self._say("generating")
        self._make("source")
        generate(self._dsn("source"), self._trades)
        settings = self._settings()
        dump = self._folder / "dump"
        plain = self._folder / "plain"
        self._step("pg_dump -Fd -j2", lambda: self._dump(dump, []))
        self._step("pg_dump -Fd -j2 -Z0", lambda: self._dump(plain, ["-Z0"]))
        shutil.rmtree(plain)
        self._step("full", lambda: self._back_up(settings, "full"))
        self._step("nothing changed", lambda: self._back_up(settings, "incremental"))
        self._step("the same, in one process", lambda: self._compare_only(settings))
        update_at_random(self._dsn("source"), 1.0)
        self._step("1 % updated", lambda: self._back_up(settings, "incremental"))
        self._make("by_pg_restore")
        self._step("pg_restore -j2", lambda: self._pg_restore(dump))
        self._make("destination")
        self._step("restore", lambda: self._restore(settings))

    def text(self) -> str:
        """Return the figures as a table, then the ratios that the promises are about."""
        lines = [
            f"{'':26}{'wall s':>9}{'CPU s':>9}{'peak MiB':>10}{'sum MiB':>9}{'stored MiB':>12}{'rows':>11}"
        ]
        for name, f in self.figures.items():
            lines.append(
                f"{name:26}{f['wall']:9.2f}{f['cpu']:9.2f}{f['peak_rss'] / 2**20:10.0f}"
                f"{f['peak_rss_sum'] / 2**20:9.0f}{f.get('stored', 0) / 2**20:12.1f}{f.get('rows', 0):11.0f}"
            )
        lines += ["", *(f"{name:52}{value:8.3f}" for name, value in self.ratios().items())]
        return "\n".join(lines)

    def ratios(self) -> dict[str, float]:
        """Return what the promises are about."""
        f = self.figures
        gigabytes = f["full"]["raw"] / 1e9
        return {
            "full / pg_dump -Fd -j2, wall": f["full"]["wall"] / f["pg_dump -Fd -j2"]["wall"],
            "full / pg_dump -Fd -j2 -Z0, wall": f["full"]["wall"] / f["pg_dump -Fd -j2 -Z0"]["wall"],
            "nothing changed, seconds per GB of COPY text": f["nothing changed"]["wall"] / gigabytes,
            "the same, comparing alone": f["the same, in one process"]["engine"] / gigabytes,
            "1 % updated / full, stored bytes": f["1 % updated"]["stored"] / f["full"]["stored"],
            "restore / pg_restore -j2, wall": f["restore"]["wall"] / f["pg_restore -j2"]["wall"],
        }

    # ---------------------------------------------------------------------------------- steps

    def _step(self, name: str, work: Callable[[], dict[str, float]]) -> None:
        self._say(name)
        self._checkpoint()
        with measured() as cost:
            extra = work()
        self.figures[name] = {**_rounded(cost), **extra}

    def _dump(self, folder: Path, options: list[str]) -> dict[str, float]:
        program = find_program("pg_dump", at_least=18)
        self._run([program.path, "-Fd", "-j2", *options, "-f", folder], "source")
        return {"stored": sum(f.stat().st_size for f in folder.iterdir())}

    def _pg_restore(self, folder: Path) -> dict[str, float]:
        program = find_program("pg_restore", at_least=18)
        self._run([program.path, "-j2", "--no-owner", "-d", "by_pg_restore", folder], "by_pg_restore")
        return {}

    def _back_up(self, settings: Settings, kind: str) -> dict[str, float]:
        report = back_up(InChildren(settings, Deadline.never()), kind)  # type: ignore[arg-type]
        totals = report.totals
        return {
            "stored": totals.bytes_stored,
            "raw": totals.bytes_raw,
            "moved": totals.bytes_moved,
            "rows": totals.rows_read,
        }

    def _compare_only(self, settings: Settings) -> dict[str, float]:
        """Back up again in this process, and time the comparing alone: no process to start, no pg_dump."""
        runner = _Timed(settings, Deadline.never())
        back_up(runner, "incremental")
        return {"engine": runner.seconds}

    def _restore(self, settings: Settings) -> dict[str, float]:
        _, steps = restore(InChildren(settings, Deadline.never()))
        return {"rows": sum(step.rows for step in steps)}

    # --------------------------------------------------------------------------------- set-up

    def _settings(self) -> Settings:
        environment = {
            "STRONGROOM_SOURCE_NAME": "benchmark",
            "STRONGROOM_DATABASE_URL": self._dsn("source"),
            "STRONGROOM_DESTINATION_URL": self._dsn("destination"),
            "STRONGROOM_REPOSITORY_LOCATIONS": f"file://{self._folder}/repository",
            "STRONGROOM_KEYS_DIRECTORY": str(self._folder / "keys"),
            "STRONGROOM_RECOVERY_PASSPHRASE": _PASSPHRASE,
            "STRONGROOM_BACKUP_MAX_BACKUP_SIZE": "0",
        }
        settings = load_settings(None, environment)
        create_keys(settings.keys.directory, _PASSPHRASE.encode(), os.urandom)
        keyring = load_keyring(settings.keys.directory)
        Repository.create(open_location(settings).store, keyring, datetime.now(UTC), os.urandom)
        return settings

    def _dsn(self, database: str) -> str:
        return self._server.dsn("postgres", database)

    def _make(self, database: str) -> None:
        with psycopg.connect(self._server.dsn(self._server.superuser, "postgres"), autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {database} OWNER postgres")

    def _checkpoint(self) -> None:
        with psycopg.connect(self._server.dsn(self._server.superuser, "postgres"), autocommit=True) as admin:
            admin.execute("CHECKPOINT")

    def _run(self, command: list[str | Path], database: str) -> None:
        environment = {
            **os.environ,
            "PGHOST": str(self._server.socket_directory),
            "PGPORT": str(self._server.port),
            "PGUSER": "postgres",
            "PGDATABASE": database,
        }
        subprocess.run(command, env=environment, check=True)

    def _say(self, what: str) -> None:
        print(f"… {what}", file=sys.stderr, flush=True)


class _Timed(InThisProcess):
    """Runs everything in this process and adds up what capturing the tables' units took."""

    seconds = 0.0

    def run(self, operation: str, request: Message, answer: type[Answer]) -> Answer:
        """Run one operation; count it if it captures a unit."""
        started = time.perf_counter()
        report = super().run(operation, request, answer)
        if operation == "capture_unit":
            self.seconds += time.perf_counter() - started
        return report


def _rounded(cost: Cost) -> dict[str, float]:
    return {name: round(value, 3) for name, value in asdict(cost).items()}


main()
