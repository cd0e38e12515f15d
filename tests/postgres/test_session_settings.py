"""Sessions: the text of values is the same whatever the environment or the role says."""

import pytest

from strongroom.deadline import Deadline
from strongroom.postgres.connection import connect
from strongroom.postgres.copy_out import copy_out
from tests.databases import MakeDatabase


def test_text_is_utf8_whatever_the_environment_says(
    platform_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PGCLIENTENCODING, which libpq obeys, does not change the bytes that a backup holds."""
    database = platform_database()
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    with connect(database.conninfo(), Deadline.never()) as connection:
        # Escaped, so that the server and not the question has the character.
        query = r"COPY (SELECT U&'\00e9') TO STDOUT"
        blocks = list(copy_out(connection, query, Deadline.never(), "a test"))
    assert [("é\n".encode(), 1)] == blocks
