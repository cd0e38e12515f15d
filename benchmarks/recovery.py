"""Recovery in place against emptying the table and loading it again, and the rows of one deleted customer.

    python -m benchmarks.recovery [--trades 4000000] [--json]

Everything runs on a throw-away Postgres 18 on this machine. `exact` is all of a recovery that is not checking: staging
from the repository, comparing, applying, confirming, removing; each operation in a child process. It runs twice: alone,
and beside an application that commits a hundred times a second in another table, so that the server is never quiet. It
stands beside TRUNCATE and COPY of the same rows from a plain file in one transaction, the indexes and the foreign key
in place, which keeps readers and writers out from the beginning to the end. The database server's own time and memory
are in the wall time and not in the other figures.
"""

import argparse
import datetime as dt
import itertools
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import psycopg

from benchmarks.generated import generate, update_at_random
from benchmarks.measuring import measured
from strongroom.config import Settings, load_settings
from strongroom.deadline import Deadline
from strongroom.format.documents import FORMAT
from strongroom.format.recovery_plans import RecoveryPlan, ScopedTable
from strongroom.keys import create_keys, load_keyring
from strongroom.operations.messages import RestoreStepReport
from strongroom.operations.recovery_messages import (
    ApplyRecovery,
    ApplyReport,
    CompareLive,
    ConfirmRecovery,
    ConfirmReport,
    DifferencesReport,
    FinishRecovery,
    FinishStaging,
    HoldRecovery,
    PrepareStaging,
    RunReport,
    StageUnit,
    StagingReport,
)
from strongroom.postgres.embedded import EmbeddedPostgres
from strongroom.repository.locations import open_location
from strongroom.repository.repository import Repository
from strongroom.runners import InChildren
from strongroom.shape import prepare_roles
from strongroom.whole import back_up

MAX_LOCK_SECONDS = 1.0
"""For each 100,000 rows that differ: for how long writers of the table may be kept waiting, if nobody else commits.

Beside others the whole table is read once under the lock, whatever differs in it; that is shown, and not bounded here.
"""

_PASSPHRASE = "benchmark"  # noqa: S105 - of keys that live for one run
_TABLE = "public.trades"
_CUSTOMER = "md5('7')::uuid"


def main() -> None:
    """Run the benchmark and print it; the exit status is 1 if writers were kept waiting for longer than they may."""
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.recovery", description=__doc__)
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
    sys.exit(run.lock_ratio() > MAX_LOCK_SECONDS)


class _Run:
    """One run: the same damage undone in two ways, then a customer's rows brought back."""

    def __init__(self, server: EmbeddedPostgres, folder: Path, trades: int) -> None:
        self._server = server
        self._folder = folder
        self._trades = trades
        self._backup = ""
        self._runs = 0
        self.figures: dict[str, dict[str, float]] = {}

    def all(self) -> None:
        """Run every step."""
        self._say("generating")
        with self._connect("postgres", self._server.superuser) as admin:
            admin.execute("CREATE DATABASE source OWNER postgres")
        generate(self._dsn(), self._trades)
        settings = self._settings()
        self._say("backing up")
        self._backup = back_up(InChildren(settings, Deadline.never()), "full").backup
        self._export()
        update_at_random(self._dsn(), 1.0)
        self._step("exact", lambda: self._recover(settings))
        update_at_random(self._dsn(), 1.0)
        with self._application():
            self._step("exact, beside others", lambda: self._recover(settings))
        update_at_random(self._dsn(), 1.0)
        self._step("truncate and reload", self._reload)
        with self._connect("source") as connection:
            connection.execute(f"DELETE FROM {_TABLE} WHERE robot_id = {_CUSTOMER}")
        self._step("one customer", lambda: self._recover(settings, f"robot_id = {_CUSTOMER}"))
        self._require_all()

    def text(self) -> str:
        """Return the figures as a table, then the ratios that the promises are about."""
        names = ("wall", "stage", "compare", "apply", "confirm", "lock", "row locks", "rows")
        lines = [f"{'':22}" + "".join(f"{name:>10}" for name in names) + f"{'peak MiB':>10}"]
        for step, figures in self.figures.items():
            values = "".join(f"{figures.get(name, 0):10.2f}" for name in names)
            lines.append(f"{step:22}{values}{figures['peak_rss'] / 2**20:10.0f}")
        ours, theirs = self.figures["exact"], self.figures["truncate and reload"]
        ratios = {
            "exact / truncate and reload, wall": ours["wall"] / theirs["wall"],
            "exact / truncate and reload, seconds of locks": ours["lock"] / theirs["lock"],
            "exact, seconds of locks per 100,000 differing rows": self.lock_ratio(),
            "beside others, seconds of locks per 1,000,000 rows": self._proof_ratio(),
            "one customer, seconds": self.figures["one customer"]["wall"],
        }
        return "\n".join([*lines, "", *(f"{name:54}{value:8.3f}" for name, value in ratios.items())])

    def lock_ratio(self) -> float:
        """Return for how long writers are kept waiting for each 100,000 rows that differ."""
        figures = self.figures["exact"]
        return figures["lock"] / (figures["rows"] / 100_000)

    def _proof_ratio(self) -> float:
        """Return for how long writers are kept waiting for each million rows of the table."""
        return self.figures["exact, beside others"]["lock"] / (self._trades / 1_000_000)

    # ---------------------------------------------------------------------------------- steps

    def _step(self, name: str, work: Callable[[], dict[str, float]]) -> None:
        self._say(name)
        with self._connect("postgres", self._server.superuser) as admin:
            admin.execute("CHECKPOINT")
        with measured() as cost:
            extra = work()
        self.figures[name] = {key: round(value, 3) for key, value in {**asdict(cost), **extra}.items()}

    def _recover(self, settings: Settings, where: str = "") -> dict[str, float]:
        plan = self._plan(where)
        runner = InChildren(settings, Deadline.never())
        times = [time.perf_counter()]
        with runner.hold("hold_recovery", HoldRecovery(plan=plan), RunReport) as run:
            owner = run.owner
            staging = runner.run("prepare_staging", PrepareStaging(plan=plan, owner=owner), StagingReport)
            runner.run_all(
                [("stage_unit", StageUnit(plan=plan, unit=unit.number)) for unit in staging.units],
                RestoreStepReport,
            )
            runner.run("finish_staging", FinishStaging(plan=plan, owner=owner), RestoreStepReport)
            times.append(time.perf_counter())
            runner.run("compare_live", CompareLive(plan=plan, owner=owner), DifferencesReport)
            times.append(time.perf_counter())
            applied = runner.run("apply_recovery", ApplyRecovery(plan=plan, owner=owner), ApplyReport)
            times.append(time.perf_counter())
            confirmed = runner.run("confirm_recovery", ConfirmRecovery(plan=plan), ConfirmReport)
            times.append(time.perf_counter())
            if not confirmed.passed:
                raise RuntimeError(f"{confirmed.differing} rows differ")
            runner.run(
                "finish_recovery",
                FinishRecovery(plan=plan, owner=owner, outcome="recovered", seconds=0.0, applied=applied),
                RunReport,
            )
        taken = [after - before for before, after in itertools.pairwise(times)]
        return {
            **dict(zip(("stage", "compare", "apply", "confirm"), taken, strict=True)),
            "lock": applied.lock_seconds,
            "row locks": applied.rows_locked_seconds,
            "rows": sum(table.total for table in applied.tables),
        }

    @contextmanager
    def _application(self) -> Iterator[None]:
        """Have somebody commit in another table all the while."""
        stop = threading.Event()

        def write() -> None:
            with self._connect("source") as connection:
                connection.execute("CREATE TABLE elsewhere (at timestamptz)")
                while not stop.wait(0.01):
                    connection.execute("INSERT INTO elsewhere VALUES (now())")

        writer = threading.Thread(target=write)
        writer.start()
        try:
            yield
        finally:
            stop.set()
            writer.join()

    def _reload(self) -> dict[str, float]:
        with psycopg.connect(self._dsn()) as connection:
            connection.execute(f"TRUNCATE {_TABLE}")
            started = time.perf_counter()
            with (
                connection.cursor() as cursor,
                cursor.copy(f"COPY {_TABLE} FROM STDIN") as copy,
                self._file.open("rb") as file,
            ):
                while data := file.read(1 << 20):
                    copy.write(data)
            connection.commit()
        return {"lock": time.perf_counter() - started, "rows": self._trades}

    def _plan(self, where: str) -> RecoveryPlan:
        self._runs += 1
        now = dt.datetime.now(dt.UTC)
        return RecoveryPlan(
            format=FORMAT,
            id=f"benchmark-{self._runs}",
            made_at=now,
            scenario="custom",
            source="benchmark",
            backup=self._backup,
            recovery_point=now,
            why="It is the only one.",
            destination="source",
            # Lost rows are what merge_missing is for: it loads no others.
            strategy="merge_missing" if where else "exact",
            tables=(ScopedTable(schema="public", name="trades", where=where),),
            steps=(),
        )

    # --------------------------------------------------------------------------------- set-up

    def _settings(self) -> Settings:
        environment = {
            "STRONGROOM_SOURCE_NAME": "benchmark",
            "STRONGROOM_DATABASE_URL": self._dsn(),
            "STRONGROOM_REPOSITORY_LOCATIONS": f"file://{self._folder}/repository",
            "STRONGROOM_KEYS_DIRECTORY": str(self._folder / "keys"),
            "STRONGROOM_RECOVERY_PASSPHRASE": _PASSPHRASE,
            "STRONGROOM_BACKUP_MAX_BACKUP_SIZE": "0",
        }
        settings = load_settings(None, environment)
        create_keys(settings.keys.directory, _PASSPHRASE.encode(), os.urandom)
        keyring = load_keyring(settings.keys.directory)
        Repository.create(open_location(settings).store, keyring, dt.datetime.now(dt.UTC), os.urandom)
        return settings

    @property
    def _file(self) -> Path:
        return self._folder / "trades.txt"

    def _export(self) -> None:
        with (
            self._connect("source") as connection,
            self._file.open("wb") as file,
            connection.cursor() as cursor,
            cursor.copy(f"COPY {_TABLE} TO STDOUT") as copy,
        ):
            for data in copy:
                file.write(data)

    def _require_all(self) -> None:
        """Make sure that every row is there again, by other means than the engine's."""
        with self._connect("source") as connection:
            row = connection.execute(f"SELECT count(*) FROM {_TABLE}").fetchone()
        if row != (self._trades,):
            raise RuntimeError(f"{row} rows instead of {self._trades}")

    def _connect(self, database: str, user: str = "postgres") -> psycopg.Connection:
        return psycopg.connect(self._server.dsn(user, database), autocommit=True)

    def _dsn(self) -> str:
        return self._server.dsn("postgres", "source")

    def _say(self, what: str) -> None:
        print(f"… {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
