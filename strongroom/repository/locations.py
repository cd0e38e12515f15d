"""The locations of a repository: stores with a part to play, opened as the settings say.

    local, *others = open_locations(settings)
    store = nearest(open_locations(settings))          # for reading

Remote stores are tried again by themselves, with growing pauses and within the deadline; folders are not: what
fails there once fails again.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from strongroom.config import Settings
from strongroom.deadline import Deadline
from strongroom.errors import CredentialsMissing, UnknownLocation
from strongroom.format.documents import Finding
from strongroom.location_settings import LocationSettings
from strongroom.stores.capabilities import ObjectLock
from strongroom.stores.nearest import NearestStore
from strongroom.stores.open import open_store
from strongroom.stores.options import StoreOptions
from strongroom.stores.protocol import Store
from strongroom.stores.storage_classes import tier
from strongroom.stores.unusable import UnusableStore

_NEARNESS = {"local": 0, "edge": 1, "archive": 2}

_RETRIES = 4
_FIRST_PAUSE_SECONDS = 0.5


@dataclass(frozen=True)
class Location:
    """A store and the part that it plays."""

    settings: LocationSettings
    store: Store

    @property
    def name(self) -> str:
        """What the configuration calls it."""
        return self.settings.name


def open_locations(settings: Settings, deadline: Deadline | None = None) -> tuple[Location, ...]:
    """Open all locations, in the order in which they are written to. Nothing is contacted yet."""
    return tuple(_open(location, deadline) for location in settings.repository.locations)


def open_location(settings: Settings, name: str = "", deadline: Deadline | None = None) -> Location:
    """Open the location of this name, the first one if it is empty. Raises `UnknownLocation`."""
    return _open(find_location(settings, name), deadline)


def find_location(settings: Settings, name: str) -> LocationSettings:
    """Return the settings of a location by its name, of the first one if it is empty."""
    locations = settings.repository.locations
    for location in locations:
        if name in {"", location.name}:
            return location
    raise UnknownLocation(name=name, known=", ".join(location.name for location in locations))


def nearest(locations: Sequence[Location]) -> Store:
    """Return the store that reads from the nearest location which has a good copy."""
    ordered = by_nearness(locations)
    return ordered[0].store if len(ordered) == 1 else NearestStore([place.store for place in ordered])


def by_nearness(locations: Sequence[Location]) -> list[Location]:
    """Order locations by their roles, local first; within a role as configured."""
    return sorted(locations, key=lambda location: _NEARNESS[location.settings.role])


def damage_noticed(store: Store) -> tuple[Finding, ...]:
    """Return a finding for each damaged copy that another location stood in for while reading."""
    if not isinstance(store, NearestStore):
        return ()
    return tuple(
        Finding(
            severity="warning",
            code=one.error.code,
            object=f"{one.name} at {one.store}",
            observed=f"it is damaged there, and was read from another location: {one.error.render()}",
            advice="Run `strongroom repair --read-everything`.",
        )
        for one in store.damaged
    )


def _open(location: LocationSettings, deadline: Deadline | None) -> Location:
    """Open a location. One that lacks its credentials says so when it is asked, and keeps no other from working."""
    try:
        store = open_store(location.url, options_of(location))
    except CredentialsMissing as error:
        return Location(location, UnusableStore(location.url, error))
    if location.bandwidth_limit:
        from strongroom.stores.bandwidth import BandwidthLimited

        store = BandwidthLimited(store, location.bandwidth_limit)
    if store.capabilities.is_remote:
        from strongroom.stores.logged import LoggedStore
        from strongroom.stores.retrying import RetryingStore

        store = RetryingStore(
            LoggedStore(store), max_retries=_RETRIES, delay=_FIRST_PAUSE_SECONDS, deadline=deadline
        )
    if location.read_only:
        from strongroom.stores.read_only import ReadOnlyStore

        store = ReadOnlyStore(store)
    return Location(location, store)


def options_of(location: LocationSettings) -> StoreOptions:
    """Return what a store is told beside its URL. Raises `CredentialsMissing` for a secret that cannot be read."""
    lock = location.object_lock
    first = [tier(location.storage_class)] if location.storage_class else []
    return StoreOptions(
        endpoint=location.endpoint or "",
        region=location.region or "",
        path_style=location.path_style,
        access_key=location.access_key or "",
        secret_key=_secret_key(location),
        session_token=location.session_token.get_secret_value() if location.session_token else "",
        credentials_file=location.credentials_file,
        ca_file=location.ca_file,
        storage_class=location.storage_class or "",
        encryption=location.encryption or "",
        conditional_put=location.conditional_put,
        lock=ObjectLock(lock.mode, lock.days) if lock else None,
        tiers=(*first, *(tier(one.storage_class, dt.timedelta(seconds=one.after)) for one in location.tiers)),
    )


def _secret_key(location: LocationSettings) -> str:
    if location.secret_key is not None:
        return location.secret_key.get_secret_value()
    if location.secret_key_file is None:
        return ""
    try:
        return location.secret_key_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        problem = getattr(error, "strerror", None) or "it is not text"
        remedy = (
            f"The file {location.secret_key_file} (secret_key_file of location {location.name}): {problem}."
        )
        raise CredentialsMissing(store=location.url, remedy=remedy) from None
