"""Recoveries in place with the true engine: damaged, recovered, and rolled back when the system is not well."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from flows.backup import back_up
from flows.recovery import recover
from strongroom.config import load_settings
from strongroom.deadline import Deadline
from strongroom.errors import RecoveryRolledBack
from strongroom.operations.context import Context
from strongroom.operations.init_repository import init_repository
from strongroom.operations.messages import InitRepository
from strongroom.operations.read_recoveries import read_recoveries
from strongroom.operations.recovery_messages import InPlaceReport, ReadRecoveries, RecoveriesReport
from tests.conftest import MakeDatabase
from tests.flows.conftest import write_configuration

PASSPHRASE = {"STRONGROOM_KEYS_PASSPHRASE": "open sesame"}


@dataclass(frozen=True)
class Project:
    """A database with a backup of it."""

    configuration: Path
    dsn: str
    backup: str

    def damage(self) -> None:
        """Change and delete rows. Postgres 18 refuses that for this table while its replica identity is full."""
        with psycopg.connect(self.dsn) as connection:
            connection.execute("ALTER TABLE public.trades REPLICA IDENTITY DEFAULT")
            connection.execute("UPDATE public.trades SET volume = volume * 2 WHERE id % 3 = 0")
            connection.execute("DELETE FROM public.trades WHERE id % 5 = 0")
            connection.execute("ALTER TABLE public.trades REPLICA IDENTITY FULL")

    def trades(self) -> list[str]:
        """Return the rows of the table as text, sorted."""
        with psycopg.connect(self.dsn) as connection:
            rows = connection.execute("SELECT t::text FROM public.trades AS t ORDER BY 1").fetchall()
        return [row[0] for row in rows]

    def schemas(self) -> list[str]:
        """Return what recoveries have left."""
        with psycopg.connect(self.dsn) as connection:
            found = connection.execute(
                "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'strongroom%'"
            ).fetchall()
        return [row[0] for row in found]

    def recoveries(self) -> RecoveriesReport:
        """Read what the repository has recorded."""
        context = Context(deadline=Deadline.after(60, "test"))
        return read_recoveries(load_settings(self.configuration, PASSPHRASE), ReadRecoveries(), context)


@pytest.fixture
def project(
    tmp_path: Path, quantforge: MakeDatabase, prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> Project:
    """Make a project in the Supabase shape, and back it up."""
    for name, value in PASSPHRASE.items():
        monkeypatch.setenv(name, value)
    dsn = quantforge().dsn()
    configuration = write_configuration(tmp_path, tmp_path / "repository", dsn)
    init_repository(
        load_settings(configuration, PASSPHRASE),
        InitRepository(),
        Context(deadline=Deadline.after(60, "test")),
    )
    made = asyncio.run(back_up(str(configuration), kind="full"))
    return Project(configuration, dsn, made.backup)


def test_damage_is_undone_in_place(project: Project) -> None:
    """Rows that were changed, deleted and added are as in the backup again; nothing is left in the database."""
    before = project.trades()
    project.damage()

    report = asyncio.run(
        recover(
            str(project.configuration), scenario="data_corruption", tables=("public.trades",), data_docs=""
        )
    )

    assert isinstance(report, InPlaceReport)
    assert before == project.trades()
    assert (report.outcome, report.plan.backup) == ("recovered", project.backup)
    assert report.emergency_backup not in {"", project.backup}
    assert [] == project.schemas()
    assert ["recovered"] == [brief.outcome for brief in project.recoveries().earlier]


def test_a_system_that_does_not_answer_well_is_rolled_back(project: Project) -> None:
    """The recovery commits, the user's own check fails, and live is what it was before, row by row."""
    project.damage()
    damaged = project.trades()
    with project.configuration.open("a") as file:
        file.write('\n[[recovery.smoke_checks]]\nname = "never"\nsql = "SELECT false"\n')

    with pytest.raises(RecoveryRolledBack, match="never"):
        asyncio.run(
            recover(
                str(project.configuration),
                scenario="data_corruption",
                tables=("public.trades",),
                data_docs="",
            )
        )

    assert damaged == project.trades()
    assert [] == project.schemas()
    assert ["rolled-back"] == [brief.outcome for brief in project.recoveries().earlier]
