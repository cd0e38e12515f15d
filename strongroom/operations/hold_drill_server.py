"""Hold a throw-away server for a drill: a fresh project of the source's major version, stopped when released.

The keeper of `strongroom.postgres.embedded` stops the server however this process ends.
"""

from strongroom.config import Settings
from strongroom.errors import PlanUnfit
from strongroom.format.documents import Finding
from strongroom.operations.context import Context
from strongroom.operations.drill_messages import DrillServerReport, HoldDrillServer
from strongroom.postgres.connection import connect
from strongroom.postgres.embedded import EmbeddedPostgres
from strongroom.repository.opening import open_repository
from strongroom.shape import build_platform

MAJORS = (16, 18)
"""The servers that are at hand."""

DATABASE = "drill"
USER = "postgres"


def hold_drill_server(settings: Settings, request: HoldDrillServer, context: Context) -> DrillServerReport:
    """Announce the server and hold it until released.

    Raises `PlanUnfit` if the backup is of a newer major version than every server at hand, what starting a server
    raises, and what reading the manifest raises.
    """
    manifest = open_repository(settings, deadline=context.deadline).read_manifest(request.backup)
    wanted = manifest.snapshot.server_version // 10_000
    major = fitting_major(wanted)
    if major is None:
        reason = f"it is of Postgres {wanted}, and a drill brings its own only up to {MAJORS[-1]}; say --to"
        raise PlanUnfit(plan=f"of a drill of {request.backup}", reason=reason)
    with EmbeddedPostgres(major=major) as server:
        build_platform(server.dsn(server.superuser, "postgres"), DATABASE)
        report = DrillServerReport(
            socket_directory=str(server.socket_directory),
            port=server.port,
            database=DATABASE,
            user=USER,
            server_version=_version_of(server, context),
            findings=tuple(_differences(wanted, major)),
        )
        context.announce(report)
        context.wait_for_release()
    return report


def fitting_major(wanted: int) -> int | None:
    """Return the major version at hand to restore `wanted` into: the same, else the next higher; None if none is."""
    return next((major for major in MAJORS if major >= wanted), None)


def _version_of(server: EmbeddedPostgres, context: Context) -> int:
    conninfo = {
        "host": str(server.socket_directory),
        "port": str(server.port),
        "user": USER,
        "dbname": DATABASE,
    }
    with connect(conninfo, context.deadline, application_name="strongroom drill") as connection:
        return connection.info.server_version


def _differences(wanted: int, major: int) -> list[Finding]:
    """Say in what the server is not the one that a recovery would write to."""
    found = [
        Finding(
            severity="info",
            code="drill-server",
            object="the throw-away server",
            observed="it runs on this machine and does not wait for its disk, so a hosted project takes longer",
            advice="For the time that a recovery really takes, drill into an empty hosted project with --to.",
        )
    ]
    if major != wanted:
        found.append(
            Finding(
                severity="info",
                code="drill-version",
                object="the throw-away server",
                expected=f"Postgres {wanted}",
                observed=f"Postgres {major}",
                advice="The same version is not at hand; --to drills into a server of yours.",
            )
        )
    return found
