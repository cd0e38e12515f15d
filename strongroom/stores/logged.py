"""A wrapper that writes a line for every call: what was asked, how many bytes, how long, how it ended.

    LoggedStore(store)

    DEBUG   strongroom.stores put packs/3f/3f9a…: 16777216 bytes in 0.412 s: done
    WARNING strongroom.stores get manifests/…: 0 bytes in 30.001 s: SR-0607 …

A line never holds contents. That an object is missing, or a name taken, is an answer and no trouble: both are
logged like what went well.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from strongroom.errors import ObjectMissing, StrongroomError
from strongroom.stores.data import Data, size_of
from strongroom.stores.names import LONGEST_NAME
from strongroom.stores.protocol import Store, StoredObject
from strongroom.stores.wrapped import WrappedStore


@dataclass
class _Line:
    """What is known of a call so far: its bytes (of a list: its objects) and its outcome."""

    count: int = 0
    outcome: str = "done"


class LoggedStore(WrappedStore):
    """Logs every call once it has ended: at DEBUG, at WARNING if it raised another error than `ObjectMissing`."""

    def __init__(
        self,
        inner: Store,
        logger: logging.Logger | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(inner)
        self._logger = logger or logging.getLogger("strongroom.stores")
        self._clock = clock

    def put(self, name: str, data: Data, sha256: str) -> None:
        """Store `data` under `name`."""
        with self._line("put", name) as line:
            line.count = size_of(data)
            self.inner.put(name, data, sha256)

    def create(self, name: str, data: bytes) -> bool:
        """Store `data` under `name` if nothing is there."""
        with self._line("create", name) as line:
            line.count = len(data)
            created = self.inner.create(name, data)
            line.outcome = "done" if created else "taken"
        return created

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes, or `length` of them from `start`."""
        with self._line("get", name) as line:
            data = self.inner.get(name, start, length)
            line.count = len(data)
        return data

    def stat(self, name: str) -> StoredObject:
        """Describe one object."""
        with self._line("stat", name):
            return self.inner.stat(name)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield objects; the line is written after the last, and counts them."""
        with self._line("list", prefix, "objects") as line:
            for found in self.inner.list(prefix):
                line.count += 1
                yield found

    def delete(self, name: str) -> None:
        """Remove one object."""
        with self._line("delete", name):
            self.inner.delete(name)

    @contextmanager
    def _line(self, operation: str, name: str, unit: str = "bytes") -> Iterator[_Line]:
        line = _Line()
        level = logging.WARNING
        begun = self._clock()
        try:
            yield line
            level = logging.DEBUG
        except ObjectMissing:
            line.outcome = "missing"
            level = logging.DEBUG
            raise
        except GeneratorExit:
            line.outcome = "left early"
            level = logging.DEBUG
            raise
        except StrongroomError as error:
            line.outcome = f"{error.code} {error.render()}"
            raise
        except BaseException as error:
            # Its text may say anything, so only its kind is logged.
            line.outcome = type(error).__name__
            raise
        finally:
            seconds = self._clock() - begun
            shown = _on_one_line(name)
            self._logger.log(
                level, "%s %s: %d %s in %.3f s: %s", operation, shown, line.count, unit, seconds, line.outcome
            )


def _on_one_line(name: str) -> str:
    """Return a name as it is, and what is no name so that it cannot look like lines of its own."""
    return name[:LONGEST_NAME].encode("unicode_escape").decode("ascii")
