"""`strongroom demo`: back up a trading platform, destroy it, get it back, and prove every table equal.

Everything is its own and temporary: two Postgres servers one after the other, keys, repository, and a
Prefect server with a home of its own. Nothing of the user's configuration is read.
"""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deployments.demo_database import (
    Fingerprint,
    change_rows,
    describe_definitions,
    fingerprint_tables,
    fingerprint_the_rest,
)
from deployments.demo_locations import DemoPlaces
from deployments.demo_report import DemoReport, Proof, Step, print_demo
from deployments.printing import console_on, number
from deployments.running import prepare_prefect, require_server, run_flow, stop_temporary_server
from deployments.watching import Watcher
from strongroom.config import load_settings
from strongroom.deadline import Deadline
from strongroom.errors import DemoNotProven
from strongroom.keys import RECOVERY_FILE
from strongroom.operations.context import Context
from strongroom.operations.init_repository import init_repository
from strongroom.operations.messages import (
    BackupReport,
    InitRepository,
    RecoveryReport,
    ShowBackup,
    VerificationReport,
    WantedKind,
)
from strongroom.operations.show_backup import show_backup
from strongroom.postgres.embedded import EmbeddedPostgres
from strongroom.postgres.schema_comparison import compare
from strongroom.postgres.schema_description import Description
from strongroom.shape import build_platform, build_shape
from strongroom.terminal import Answer

_PASSPHRASE = "correct horse battery staple"  # noqa: S105  (of throw-away keys)
_DATABASE = "quantforge"
_FOREIGN = ("STRONGROOM_", "PREFECT_", "PG")
"""Variables that would point the demo at something of the user's."""

_CONFIGURATION = """\
[source]
name = "quantforge"
database_url = "{dsn}"
[repository]
{locations}
[keys]
directory = "keys"
passphrase_file = "passphrase"
[backup]
max_backup_size = 0
"""


def run_demo(answer: Answer, *, scale: int, several: bool, archive: str, keep: bool, debug: bool) -> None:
    """Run the whole story, and fail if any of its claims did not come out true.

    With `several` there are three locations, of which one is lost and one damaged; `archive` may be a bucket's URL,
    with credentials where its service's own tools look, and is emptied in the end.
    """
    folder = Path(tempfile.mkdtemp(prefix="strongroom-demo-"))
    places = DemoPlaces(folder, several=several or bool(archive), archive=archive)
    try:
        _isolate(folder, debug=debug)
        with Watcher("Strongroom's demo") as watcher:
            demo = Demo(folder, watcher, scale, places)
            try:
                report = demo.tell(keep=keep)
            finally:
                demo.clean_up(keep=keep)
    finally:
        stop_temporary_server()
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    if not answer.as_json:
        print_demo(console_on(answer.stream), report)
    if report.passed:
        answer.give(report)
    else:
        failed = "; ".join(proof.claim for proof in report.proofs if not proof.holds)
        answer.fail(DemoNotProven(claims=failed), report)


def _isolate(folder: Path, *, debug: bool) -> None:
    """Keep the user's settings out, and Prefect's state in."""
    for name in [name for name in os.environ if name.startswith(_FOREIGN)]:
        del os.environ[name]
    os.environ["PREFECT_HOME"] = str(folder / "prefect")
    prepare_prefect(debug=debug)


@dataclass(frozen=True, slots=True)
class Sight:
    """All that was seen in a database at one time."""

    tables: dict[str, Fingerprint]
    rest: dict[str, Fingerprint]
    definitions: Description


class Demo:
    """The story, step by step; remembers what each step took and proved."""

    def __init__(self, folder: Path, watcher: Watcher, scale: int, places: DemoPlaces) -> None:
        self._folder = folder
        self._places = places
        self._configuration = folder / "strongroom.toml"
        self._watcher = watcher
        self._scale = scale
        self._steps: list[Step] = []
        self._proofs: list[Proof] = []

    def tell(self, *, keep: bool) -> DemoReport:
        """Tell the story from start to end."""
        begun = time.monotonic()
        with EmbeddedPostgres(major=18) as server:
            dsn = self._make_platform(server)
            self._make_repository(dsn)
            with self._step("start Prefect"):
                require_server()
            full = self._back_up("full", "full backup")
            with self._step("change about one row in a hundred"):
                changed = change_rows(dsn)
            incremental = self._back_up("auto", "incremental backup")
            self._prove_backups(full, incremental, changed)
            if self._places.several:
                self._proofs += self._places.prove_copies(self._watcher.reports)
            self._verify_content()
            with self._step("remember every row and definition"):
                before = self._look_at(dsn)
            self._destroy(server)
            if self._places.several:
                with self._step("lose a location, damage another"):
                    self._places.do_harm()
        with EmbeddedPostgres(major=18) as server:
            with self._step("start an empty project"):
                build_platform(server.dsn("supabase_admin", "postgres"), _DATABASE)
            dsn = server.dsn("postgres", _DATABASE)
            recovery = self._recover(dsn)
            with self._step("compare every row and definition"):
                after = self._look_at(dsn)
        if self._places.several:
            self._proofs += self._places.prove_recovery(self._watcher.reports)
        self._prove_recovery(recovery)
        self._prove_rows(before, after)
        self._prove_definitions(before, after, recovery)
        return DemoReport(
            passed=all(proof.holds for proof in self._proofs),
            full=full,
            incremental=incremental,
            rows_changed=changed,
            steps=tuple(self._steps),
            proofs=tuple(self._proofs),
            seconds=time.monotonic() - begun,
            folder=str(self._folder) if keep else "",
        )

    def clean_up(self, *, keep: bool) -> None:
        """Delete what lies outside the demo's folder, if there is anything."""
        if not keep and self._configuration.exists():
            self._places.clean_up(load_settings(self._configuration, os.environ))

    # -------------------------------------------------------------------------------- the steps

    def _make_platform(self, server: EmbeddedPostgres) -> str:
        with self._step("build the trading platform"):
            build_shape(server.dsn("supabase_admin", "postgres"), _DATABASE, scale=self._scale)
        return server.dsn("postgres", _DATABASE)

    def _make_repository(self, dsn: str) -> None:
        """Make keys and repository, and take the recovery key away, as one should."""
        with self._step("make keys and repository"):
            (self._folder / "passphrase").write_text(_PASSPHRASE)
            self._configuration.write_text(
                _CONFIGURATION.format(
                    dsn=dsn.replace("\\", "\\\\").replace('"', '\\"'),
                    locations=self._places.configuration(),
                )
            )
            settings = load_settings(self._configuration, os.environ)
            init_repository(settings, InitRepository(), Context(Deadline.never()))
            self._recovery_key.rename(self._safe_place)

    def _back_up(self, kind: WantedKind, name: str) -> BackupReport:
        from flows.backup import back_up

        with self._step(f"{name}, verified"):
            return run_flow(lambda: back_up(str(self._configuration), kind), self._watcher)

    def _verify_content(self) -> None:
        """Bring the recovery key, and open every chunk."""
        from flows.verify import verify

        without = not self._recovery_key.exists()
        self._prove("backups were made without the recovery key", without, "recovery.pem was in a safe place")
        self._safe_place.rename(self._recovery_key)
        with self._step("verify the content"):
            report = run_flow(lambda: verify(str(self._configuration), "latest", "content"), self._watcher)
        seen = f"{number(report.objects_checked)} objects, {number(report.rows_checked)} rows opened"
        self._prove("the backup can be read: every chunk opens", report.passed, seen)

    def _recover(self, dsn: str) -> RecoveryReport:
        from flows.recovery import recover, restored

        os.environ["STRONGROOM_DESTINATION_URL"] = dsn
        docs = str(self._folder / "data-docs")

        async def start() -> RecoveryReport:
            return restored(await recover(str(self._configuration), "latest", data_docs=docs))

        with self._step("recover, and run the suites"):
            return run_flow(start, self._watcher)

    def _destroy(self, server: EmbeddedPostgres) -> None:
        data = server.data_directory
        with self._step("destroy the server"):
            server.stop()
        self._prove("the server is gone, its files with it", not data.exists(), "no data directory is left")

    def _look_at(self, dsn: str) -> "Sight":
        settings = load_settings(self._configuration, os.environ)
        shown = show_backup(settings, ShowBackup(), Context(Deadline.never()))
        return Sight(
            tables=fingerprint_tables(dsn, {entry.table for entry in shown.tables}),
            rest=fingerprint_the_rest(dsn),
            definitions=describe_definitions(dsn),
        )

    # -------------------------------------------------------------------------------- the claims

    def _prove_backups(self, full: BackupReport, incremental: BackupReport, changed: int) -> None:
        verified = [report for report in self._watcher.reports if isinstance(report, VerificationReport)]
        structure = [report for report in verified if report.level == "structure"]
        self._prove(
            "every stored byte is there and right",
            bool(structure) and all(report.passed for report in structure),
            f"{len(structure)} verifications, score {min((report.score for report in structure), default=0)} of 100",
        )
        self._prove(
            "the second backup builds on the first",
            incremental.kind == "incremental" and incremental.parent == full.backup,
            f"{incremental.kind}: {incremental.reason}",
        )
        self._prove(
            "its cost follows what changed",
            incremental.totals.rows_read < full.totals.rows / 10
            and incremental.totals.bytes_stored < full.totals.bytes_stored / 4,
            f"{number(changed)} of {number(full.totals.rows)} rows changed, "
            f"{number(incremental.totals.rows_read)} were read",
        )

    def _prove_recovery(self, report: RecoveryReport) -> None:
        judged = report.integrity
        suites = judged.suites if judged else ()
        self._prove(
            "Great Expectations' suites pass on what was restored",
            judged is not None and judged.passed and bool(suites),
            f"{sum(suite.passed for suite in suites)} of {len(suites)} suites, "
            f"{sum(suite.expectations for suite in suites)} expectations",
        )

    def _prove_rows(self, before: "Sight", after: "Sight") -> None:
        differing = _differing(before.tables, after.tables)
        rows = sum(fingerprint.rows for fingerprint in after.tables.values())
        self._prove(
            "every table is equal, row for row",
            bool(before.tables) and not differing,
            f"{number(rows)} rows in {len(after.tables)} tables and materialised views, by the server's digest "
            "and by their COPY text"
            if not differing
            else "differ: " + ", ".join(differing),
        )
        differing = _differing(before.rest, after.rest)
        counts = ", ".join(f"{fingerprint.rows} {kind}" for kind, fingerprint in after.rest.items())
        self._prove(
            "so is what is not in tables",
            not differing,
            counts if not differing else "differ: " + ", ".join(differing),
        )

    def _prove_definitions(self, before: "Sight", after: "Sight", recovery: RecoveryReport) -> None:
        """Compare the definitions; what the platform forbids to restore may differ if the recovery has named it."""
        named = {_key(finding.object) for finding in recovery.findings}
        differing = [finding.object for finding in compare(before.definitions, after.definitions)]
        unnamed = [name for name in differing if _key(name) not in named]
        self._prove(
            "so is every definition, privileges included",
            not unnamed,
            f"{number(len(before.definitions))} compared, {len(differing)} differ"
            + (
                ", which only a hosted project lets `postgres` make: the recovery's report names them"
                if differing
                else ""
            )
            + (", except: " + ", ".join(unnamed) if unnamed else ""),
        )

    # -------------------------------------------------------------------------------- parts

    @property
    def _recovery_key(self) -> Path:
        return self._folder / "keys" / RECOVERY_FILE

    @property
    def _safe_place(self) -> Path:
        return self._folder / RECOVERY_FILE

    def _prove(self, claim: str, holds: bool, observed: str) -> None:
        self._proofs.append(Proof(claim, holds, observed))

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        self._watcher.describe(name)
        begun = time.monotonic()
        yield
        self._steps.append(Step(name, time.monotonic() - begun))


def _differing(before: dict[str, Fingerprint], after: dict[str, Fingerprint]) -> list[str]:
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def _key(name: str) -> str:
    """Return the words of an object's name, whose punctuation differs between a comparison and a report."""
    return " ".join(re.findall(r"\w+", name.lower()))
