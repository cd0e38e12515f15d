"""Leases: time-limited rights to write, made of create-once objects only.

A lease is a chain of numbered objects under `leases/<right>/`. Whoever creates the next number has the right
until the time written in it; releasing is creating the next number with a time that is over. Nothing is
ever overwritten, and of several that try for the same number exactly one succeeds, so the scheme needs of
the medium only what `Store.create` promises.
"""

import contextlib
import datetime as dt
import os
import re
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Annotated, Self

import msgspec

from strongroom.clock import Clock
from strongroom.decoding import decode_as
from strongroom.errors import LeaseHeld, LeaseLost, MalformedDocument, ObjectMissing, StrongroomError
from strongroom.repository import layout
from strongroom.stores.protocol import Store

LEASE_TIME = dt.timedelta(seconds=120)
"""How long a lease is good for unless it is renewed; a holder renews it three times as often."""

_KEPT = 2
_TRIES = 5
_NUMBER = re.compile(r"[0-9]{12}")


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    token: str
    holder: str
    process: str
    until: Annotated[dt.datetime, msgspec.Meta(tz=True)]


class Lease:
    """A right that is held while the block runs, renewed from a thread of its own.

    Raises `LeaseHeld` on entry if another holder's time is not over and its process is not known dead.
    """

    def __init__(self, store: Store, right: str, token: str, clock: Clock) -> None:
        self._store = store
        self._right = right
        self._token = token
        self._clock = clock
        self._number = 0
        self._until = clock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lost = False

    def __enter__(self) -> Self:
        number, entry = self.newest()
        if entry is not None and entry.until > self._clock() and not _is_dead(entry.process):
            raise LeaseHeld(
                what=self._right, holder=entry.holder, until=entry.until.isoformat(" ", "seconds")
            )
        if not self._write(number + 1, self._clock() + LEASE_TIME):
            _, winner = self.newest()
            holder, until = (winner.holder, winner.until.isoformat(" ", "seconds")) if winner else ("?", "?")
            raise LeaseHeld(what=self._right, holder=holder, until=until)
        self._thread = threading.Thread(target=self._renew, name=f"lease {self._right}", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if not self._lost:
            # A release that fails costs others some waiting, and must not undo the work that was done.
            with contextlib.suppress(StrongroomError):
                self._write(self._number + 1, self._clock())

    def check(self) -> None:
        """Raise `LeaseLost` if renewing failed or came too late: somebody else may hold the right by now."""
        if self._lost or self._clock() >= self._until:
            raise LeaseLost(what=self._right)

    def _renew(self) -> None:
        while not self._stop.wait(LEASE_TIME.total_seconds() / 3):
            before = self._until
            try:
                renewed = self._clock() < before and self._write(self._number + 1, self._clock() + LEASE_TIME)
                # While the time was over, nobody saw a right here: what it protects may have been deleted.
                renewed = renewed and self._clock() < before
            except Exception:  # noqa: BLE001 - whatever it is, the right is not certain any more
                renewed = False
            if not renewed:
                self._lost = True
                return

    def _write(self, number: int, until: dt.datetime) -> bool:
        """Create the next entry; False if somebody else did."""
        entry = _Entry(
            token=self._token,
            holder=f"{socket.gethostname()} (process {os.getpid()})",
            process=_this_process(),
            until=until,
        )
        name = self._name(number)
        if not self._store.create(name, msgspec.json.encode(entry)):
            return False
        if self._names()[-1] != name:
            # Others went past while this process slept, and cleared away who had had the number before.
            self._store.delete(name)
            return False
        self._number, self._until = number, until
        if number > _KEPT:
            # Only the newest counts; older ones go one at a time so that the chain never has a gap at its end.
            self._store.delete(self._name(number - _KEPT))
        return True

    def _name(self, number: int) -> str:
        return f"{layout.LEASES}{self._right}/{number:012d}"

    def _names(self) -> list[str]:
        folder = f"{layout.LEASES}{self._right}/"
        names = (stored.name for stored in self._store.list(folder))
        # What somebody else has put there is no entry.
        return [name for name in names if _NUMBER.fullmatch(name.removeprefix(folder))]

    def newest(self) -> tuple[int, _Entry | None]:
        """Read the entry that counts: its number and itself."""
        for _ in range(_TRIES):
            # Others may go on between the two calls, and clear away what was listed.
            with contextlib.suppress(ObjectMissing):
                return self._read_newest()
        return self._read_newest()

    def _read_newest(self) -> tuple[int, _Entry | None]:
        names = self._names()
        if not names:
            return 0, None
        return int(names[-1].rpartition("/")[2]), _decode(names[-1], self._store.get(names[-1]))


def require_lease(store: Store, right: str, token: str, now: dt.datetime) -> None:
    """Raise `LeaseLost` unless the holder named `token` has the right now, in whatever process it is."""
    _, entry = Lease(store, right, token, lambda: now).newest()
    if entry is None or entry.token != token or entry.until <= now:
        raise LeaseLost(what=right)


def _decode(name: str, data: bytes) -> _Entry:
    try:
        return decode_as(_Entry, data)
    except msgspec.MsgspecError as error:
        raise MalformedDocument(kind="lease", name=name, reason=str(error)) from error


def _this_process() -> str:
    """Name this process so that the same machine can tell later whether it is still there."""
    return f"{_boot()}/{os.getpid()}/{_start_time(os.getpid())}"


def _is_dead(process: str) -> bool:
    """Tell whether a process of this machine, since its last start, has ended; False if unknown."""
    boot, _, rest = process.partition("/")
    pid, _, started = rest.partition("/")
    return bool(boot) and boot == _boot() and pid.isdecimal() and _start_time(int(pid)) != started


def _boot() -> str:
    """Return what names this start of this machine (and container), empty where that is not told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}:{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _start_time(pid: int) -> str:
    """Return when a process was started, in the kernel's ticks; empty if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        return stat.rpartition(")")[2].split()[19]
    except OSError:
        return ""
