"""The border to the operating system: `OSError` becomes a coded error, by its number."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from strongroom.errors import (
    StoreDenied,
    StoreError,
    StoreFailed,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
    StoreUnsuitable,
)

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM}
_UNSUITABLE = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV, errno.ENOSYS}
# What a network mount, a signal or a busy machine causes, and what passes by itself.
_PASSING = {
    errno.EAGAIN,
    errno.EBUSY,
    errno.EINTR,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.ENOTCONN,
}


@contextmanager
def translated(store: str, operation: str, name: str) -> Iterator[None]:
    """Run a block of system calls for one object; raise what goes wrong there as a `StoreError`."""
    try:
        yield
    except OSError as error:
        raise coded(error, store, operation, name) from error


def coded(error: OSError, store: str, operation: str, name: str) -> StoreError:
    """Return the coded error for an `OSError`."""
    number = error.errno or 0
    reason = os.strerror(number) if number else type(error).__name__
    if number in _FULL:
        return StoreFull(store=store, name=name)
    if number in _DENIED:
        return StoreDenied(store=store, name=name, reason=reason)
    if number == errno.EROFS:
        return StoreReadOnly(store=store, operation=operation, name=name)
    if number in _UNSUITABLE:
        return StoreUnsuitable(store=store, reason=f"{operation} of {name!r} gave `{reason}`")
    if number in _PASSING:
        return StoreUnavailable(store=store, operation=operation, name=name, reason=reason)
    return StoreFailed(store=store, operation=operation, name=name, reason=reason)
