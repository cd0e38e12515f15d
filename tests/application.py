"""An application that goes on using a database: it writes, and reads what must never be seen half changed.

with WritingApplication(dsn) as application:
    …
assert application.errors == []
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

import psycopg
from psycopg import sql


class WritingApplication:
    """Two sessions in two threads: one writes a row at a time, one asks questions whose answers it collects.

    `questions` are read in one statement each, over and over; `answers` holds every answer that came, without
    repetition, in the order in which they were first seen.
    """

    def __init__(
        self,
        dsn: str,
        write: Callable[["psycopg.Connection[Any]", int], None],
        questions: Mapping[str, str] | None = None,
    ) -> None:
        self.errors: list[str] = []
        self.written = 0
        self.longest_write = 0.0
        self.answers: dict[str, list[tuple[Any, ...]]] = {name: [] for name in questions or {}}
        self._questions = dict(questions or {})
        self._dsn = dsn
        self._write = write
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._keep_writing),
            threading.Thread(target=self._keep_reading),
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _keep_writing(self) -> None:
        with psycopg.connect(self._dsn, autocommit=True, application_name="the application") as connection:
            while not self._stop.wait(0.01):
                begun = time.monotonic()
                try:
                    self._write(connection, self.written)
                except psycopg.Error as error:
                    self.errors.append(f"{type(error).__name__}: {error}")
                self.written += 1
                self.longest_write = max(self.longest_write, time.monotonic() - begun)

    def _keep_reading(self) -> None:
        with psycopg.connect(self._dsn, autocommit=True, application_name="the application") as connection:
            while not self._stop.wait(0.01):
                for name, question in self._questions.items():
                    answer = connection.execute(sql.SQL(question)).fetchone() or ()
                    if answer not in self.answers[name]:
                        self.answers[name].append(answer)
