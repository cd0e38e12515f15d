"""System validation: a database and an application are asked as they would be used, and what fails is told."""

import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from strongroom.config import Settings
from strongroom.deadline import Deadline
from strongroom.errors import DeadlineExceeded, SourceUnavailable
from strongroom.operations.context import Context
from strongroom.operations.messages import Check
from strongroom.operations.recovery_messages import ValidateSystem, ValidationReport
from strongroom.operations.validate_system import validate_system
from strongroom.recovery.validation import check_health
from strongroom.recovery_settings import SmokeCheck
from tests.conftest import MakeDatabase
from tests.databases import Database
from tests.row_backups import Keys, settings_for

SECRET = "seldom-seen-4711"


class _Application(http.server.BaseHTTPRequestHandler):
    """An application: each path behaves as its name says."""

    def do_GET(self) -> None:
        """Answer."""
        server = self.server
        assert isinstance(server, Application)
        server.seen.append((self.path, self.headers.get("Authorization") or ""))
        if self.path.startswith("/slow"):
            self._drip(server.released)
        elif self.path == "/round":
            self.send_response(301)
            self.send_header("Location", self.path)
            self.end_headers()
        elif self.path.startswith("/to?"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to?"))
            self.end_headers()
        else:
            self.send_response(int(self.path.split("?")[0].strip("/")))
            self.end_headers()

    def _drip(self, released: threading.Event) -> None:
        """Send a head byte by byte: each of them is in time, and there is no end to them."""
        try:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Padding: ")
            while not released.wait(0.05):
                self.wfile.write(b"x")
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        """Say nothing."""


class Application(http.server.ThreadingHTTPServer):
    """The application's server, what it was asked, and when slow answers may end."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Application)
        self.seen: list[tuple[str, str]] = []
        self.released = threading.Event()

    def url(self, path: str, user: str = "") -> str:
        """Return the address of a path."""
        return f"http://{user}127.0.0.1:{self.server_address[1]}{path}"


@pytest.fixture
def application() -> Iterator[Application]:
    """Run the application's server."""
    with Application() as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        yield server
        server.released.set()
        server.shutdown()
        serving.join()


# ---------------------------------------------------------------- addresses


@pytest.mark.parametrize("status", [200, 204])
def test_success_is_healthy(status: int, application: Application) -> None:
    """Every status of 2xx passes."""
    check = check_health(application.url(f"/{status}"), 5)
    assert (True, f"status {status}") == (check.passed, check.observed)


@pytest.mark.parametrize(("status", "transient"), [(404, False), (401, False), (500, True), (503, True)])
def test_other_statuses_are_not(status: int, transient: bool, application: Application) -> None:
    """Every other one fails; the server's own faults may pass."""
    check = check_health(application.url(f"/{status}"), 5)
    assert (False, f"status {status}", transient) == (check.passed, check.observed, check.transient)


def test_slow_answers_are_no_answers(application: Application) -> None:
    """The limit is of the whole answer: one that arrives byte by byte does not stretch it."""
    check = check_health(application.url("/slow"), 0.5)
    assert (False, "no answer within 0.5 s", True) == (check.passed, check.observed, check.transient)


def test_refused_connections_are_told() -> None:
    """Nobody listens at the address."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        check = check_health(url, 5)
    assert (False, "the connection was refused", True) == (check.passed, check.observed, check.transient)


@pytest.mark.parametrize("url", ["http://", "http://127.0.0.1:port/", "http://[::1", "http://a b/"])
def test_addresses_that_are_none_fail(url: str) -> None:
    """An address that cannot be meant is a failure and no crash."""
    assert not check_health(url, 5).passed


def test_redirects_stay_at_home(application: Application) -> None:
    """A redirect within the host is followed, one to another host is not, and a circle ends."""
    assert check_health(application.url("/to?/204"), 5).observed == "status 204"
    elsewhere = f"http://localhost:{application.server_address[1]}/200"
    check = check_health(application.url(f"/to?{elsewhere}"), 5)
    assert (False, "status 302, to another host") == (check.passed, check.observed)
    assert [path for path, _ in application.seen if path == "/200"] == []
    application.seen.clear()
    circle = check_health(application.url("/round"), 5)
    assert (False, "more than 3 redirects") == (circle.passed, circle.observed)
    assert len(application.seen) <= 4


def test_secrets_of_addresses_are_used_and_not_shown(application: Application) -> None:
    """User, password and query go to the application, and into no answer."""
    check = check_health(application.url(f"/200?token={SECRET}", user=f"me:{SECRET}@"), 5)
    ((path, authorization),) = application.seen
    assert path.endswith(SECRET)
    assert authorization.startswith("Basic ")
    assert SECRET not in str(check)
    assert check.name == f"health {application.url('/200')}"


# ---------------------------------------------------------------- the database


def configured(
    database: Database, folder: Path, keys: Keys, *checks: SmokeCheck, urls: tuple[str, ...] = ()
) -> Settings:
    """Return settings with smoke checks and addresses."""
    settings = settings_for(database.dsn(), folder, keys)
    recovery = settings.recovery.model_copy(update={"smoke_checks": checks, "health_urls": urls})
    return settings.model_copy(update={"recovery": recovery})


def validated(settings: Settings, deadline: Deadline | None = None) -> ValidationReport:
    """Validate."""
    return validate_system(
        settings, ValidateSystem(), Context(deadline or Deadline.after(60, "recovery.limit"))
    )


def named(report: ValidationReport, name: str) -> Check:
    """Return one of the answers."""
    (check,) = (check for check in report.checks if check.name == name)
    return check


def smoke(sql: str, role: str = "") -> SmokeCheck:
    """Make a check called `it`."""
    return SmokeCheck.model_validate({"name": "it", "sql": sql, "role": role})


def test_the_application_is_served(quantforge: MakeDatabase, tmp_path: Path, keys: Keys) -> None:
    """On the database as it is, every API role answers and reads a table, as role postgres takes them."""
    report = validated(configured(quantforge(), tmp_path, keys))
    assert report.passed
    assert [check.name for check in report.checks] == [
        "role anon",
        "role authenticated",
        "role service_role",
        "role authenticator",
    ]
    assert all(check.passed for check in report.checks)
    assert named(report, "role anon").observed.startswith("answers, and reads public.")
    assert [finding.code for finding in report.findings] == ["validation-of-roles-only"]


def test_a_broken_policy_is_noticed(quantforge: MakeDatabase, tmp_path: Path, keys: Keys) -> None:
    """A role that is let into a schema, and whose every table has a policy that fails, does not pass."""
    database = quantforge()
    with psycopg.connect(database.dsn(), autocommit=True) as connection:
        connection.execute("REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM anon")
        connection.execute("GRANT SELECT ON public.profiles TO anon")
        connection.execute('DROP POLICY "Profiles are public" ON public.profiles')
        connection.execute(
            "CREATE POLICY broken ON public.profiles FOR SELECT USING (1 / (length(username) - length(username)) = 1)"
        )
    report = validated(configured(database, tmp_path, keys))
    assert not report.passed
    assert not named(report, "role anon").passed
    assert named(report, "role service_role").passed


def test_lost_grants_show_in_what_is_read(quantforge: MakeDatabase, tmp_path: Path, keys: Keys) -> None:
    """A role without any grant answers, and the report says that it may read no table."""
    database = quantforge()
    with psycopg.connect(database.dsn(), autocommit=True) as connection:
        connection.execute("REVOKE USAGE ON SCHEMA public FROM PUBLIC, anon")
    report = validated(configured(database, tmp_path, keys))
    assert named(report, "role anon").observed == "answers, and may read no table"


def test_smoke_checks_hold_if_true(quantforge: MakeDatabase, tmp_path: Path, keys: Keys) -> None:
    """A check is asked as its role, with the row security and the search path of sessions of its own."""
    database = quantforge()
    sees_all = smoke("SELECT count(*) = (SELECT count(*) FROM public.robots WHERE true) FROM robots", "")
    hidden = smoke("SELECT count(*) > 0 AND bool_and(state = 'live') FROM robots", "anon")
    who = smoke("SELECT current_user = 'service_role', 'and more'", "service_role")
    for check in (sees_all, hidden, who):
        report = validated(configured(database, tmp_path, keys, check))
        assert named(report, "smoke check it").observed == "true"
        assert report.passed
        assert report.findings == ()


FAILING = {
    "false": "SELECT false",
    "unknown": "SELECT NULL::bool",
    "a number": "SELECT 1",
    "a word": f"SELECT '{SECRET}'",
    "no row": "SELECT true WHERE false",
    "two rows": "SELECT true FROM generate_series(1, 2)",
    "no column": "SELECT",
    "two statements": "SELECT true; SELECT true",
    "no such table": "SELECT true FROM public.robotts",
    "an error that holds a value": f"SELECT '{SECRET}'::int = 1",
    "an error of a function's": "SELECT public.lots '0' > 0",
    "no query": "SET search_path = ''",
    "empty": " ",
}


@pytest.mark.parametrize("fault", FAILING)
def test_everything_else_fails(fault: str, quantforge: MakeDatabase, tmp_path: Path, keys: Keys) -> None:
    """Whatever is not one row that begins with true is a failure, and no value gets into the report."""
    report = validated(configured(quantforge(), tmp_path, keys, smoke(FAILING[fault])))
    assert not report.passed
    assert not named(report, "smoke check it").passed
    assert SECRET not in str(report)


def test_checks_cannot_write(quantforge: MakeDatabase, tmp_path: Path, keys: Keys) -> None:
    """A check that writes fails, and nothing was written; the next one is asked all the same."""
    database = quantforge()
    writing = smoke("WITH gone AS (DELETE FROM public.robots RETURNING 1) SELECT count(*) > 0 FROM gone")
    harmless = SmokeCheck(name="other", sql="SELECT true")
    report = validated(configured(database, tmp_path, keys, writing, harmless))
    assert not named(report, "smoke check it").passed
    assert named(report, "smoke check other").passed
    with psycopg.connect(database.dsn()) as connection:
        assert connection.execute("SELECT count(*) FROM public.robots").fetchone() == (40,)


def test_roles_that_are_not_there_fail(quantforge: MakeDatabase, tmp_path: Path, keys: Keys) -> None:
    """A role that may not be taken fails: a check that ran as somebody else would prove nothing."""
    unknown: Any = "no_such_role"
    check = SmokeCheck.model_construct(name="it", sql="SELECT true", role=unknown)
    assert not validated(configured(quantforge(), tmp_path, keys, check)).passed


def test_time_that_is_over_is_no_answer(quantforge: MakeDatabase, tmp_path: Path, keys: Keys) -> None:
    """A check that takes longer than there is time ends it: then nothing is known, and nothing is green."""
    endless = smoke("SELECT pg_sleep(3600) IS NULL")
    settings = configured(quantforge(), tmp_path, keys, endless, SmokeCheck(name="next", sql="SELECT true"))
    try:
        report = validated(settings, Deadline.after(2.5, "recovery.limit"))
    except DeadlineExceeded:
        return
    # The server counts in whole milliseconds, and may end the statement within the last one.
    assert not report.passed


def test_cut_connections_are_raised(quantforge: MakeDatabase, tmp_path: Path, keys: Keys) -> None:
    """If the connection is lost, the rest cannot be asked: an error that may pass, and no verdict."""
    cutting = smoke("SELECT pg_terminate_backend(pg_backend_pid())")
    with pytest.raises(SourceUnavailable):
        validated(configured(quantforge(), tmp_path, keys, cutting))


def test_health_counts(
    quantforge: MakeDatabase, tmp_path: Path, keys: Keys, application: Application
) -> None:
    """An application that does not answer fails the validation, however well the database does."""
    database = quantforge()
    good = configured(database, tmp_path, keys, urls=(application.url("/200"),))
    bad = configured(database, tmp_path, keys, urls=(application.url("/200"), application.url("/500")))
    assert [True, False] == [validated(good).passed, validated(bad).passed]
