"""COPY … TO STDOUT as blocks of whole rows. The one loop of the engine that runs once a row.

The server sends a message a row, so this loop is what bounds capture in Python; it therefore talks to
libpq directly, appends the messages to a list and joins them once a block.
"""

import select
from collections.abc import Iterator

import psycopg
from psycopg import pq
from psycopg.errors import error_from_result

from strongroom.deadline import Deadline
from strongroom.errors import DeadlineExceeded
from strongroom.postgres.connection import Connection, translate

BLOCK_TARGET = 4 << 20
"""Bytes of COPY text from which a block is handed on; a block is larger only by its last row."""


def copy_out(
    connection: Connection, query: str, deadline: Deadline, object_name: str
) -> Iterator[tuple[bytes, int]]:
    """Run a COPY … TO STDOUT and yield (COPY text, number of rows), each row ending in a line feed.

    Raises coded errors that name `object_name`. A consumer that stops early must close the connection.
    """
    pgconn = connection.pgconn
    pgconn.send_query(query.encode())
    _wait_for_result(pgconn, deadline)
    result = pgconn.get_result()
    if result is None or result.status != pq.ExecStatus.COPY_OUT:
        raise _failure(pgconn, result, object_name)
    rows: list[memoryview] = []
    size = 0
    receive = pgconn.get_copy_data
    while True:
        length, data = receive(1)
        if length > 0 and data is not None:
            rows.append(data)
            size += length
            if size >= BLOCK_TARGET:
                deadline.check()
                yield b"".join(rows), len(rows)
                rows, size = [], 0
        elif length == 0:
            _wait_readable(pgconn, deadline)
            _consume(pgconn)
        else:
            break
    if rows:
        yield b"".join(rows), len(rows)
    _finish(pgconn, deadline, object_name)


def _finish(pgconn: pq.abc.PGconn, deadline: Deadline, object_name: str) -> None:
    """Take the command's own result and what follows it, so that the connection is free again."""
    failed = None
    while True:
        _wait_for_result(pgconn, deadline)
        result = pgconn.get_result()
        if result is None:
            break
        if result.status != pq.ExecStatus.COMMAND_OK and failed is None:
            failed = result
    if failed is not None:
        raise _failure(pgconn, failed, object_name)


def _wait_for_result(pgconn: pq.abc.PGconn, deadline: Deadline) -> None:
    while pgconn.flush():
        select.select([], [pgconn.socket], [], 1.0)
        deadline.check()
    while pgconn.is_busy():
        _wait_readable(pgconn, deadline)
        _consume(pgconn)


def _consume(pgconn: pq.abc.PGconn) -> None:
    try:
        pgconn.consume_input()
    except psycopg.Error as error:
        raise translate(error) from error


def _wait_readable(pgconn: pq.abc.PGconn, deadline: Deadline) -> None:
    """Wait for bytes from the server, at most until the deadline."""
    while True:
        left = deadline.remaining()
        if left <= 0:
            raise DeadlineExceeded(setting=deadline.setting, limit_seconds=deadline.limit_seconds)
        poll = select.poll()
        poll.register(pgconn.socket, select.POLLIN)
        if poll.poll(min(left, 5.0) * 1000):
            return


def _failure(pgconn: pq.abc.PGconn, result: pq.abc.PGresult | None, object_name: str) -> Exception:
    if result is None or result.status != pq.ExecStatus.FATAL_ERROR:
        text = pgconn.error_message.decode("utf-8", "replace").strip() or "the connection was cut"
        return translate(psycopg.OperationalError(text), object_name)
    return translate(error_from_result(result), object_name)
