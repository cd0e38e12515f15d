"""Storage classes of S3 and Google Cloud Storage, and what they cost in time. Pure.

Delays are the longest that the provider names for the ordinary way of asking, minimum stays what is billed at
least (Amazon S3 and Google Cloud documentation, 2026; see `docs/decisions/0009`). A class that is not listed
counts as one that is read at once.
"""

import datetime as dt

from strongroom.stores.capabilities import Tier

_NOW = dt.timedelta()
_TIMES: dict[str, tuple[dt.timedelta, dt.timedelta]] = {
    "STANDARD_IA": (_NOW, dt.timedelta(days=30)),
    "ONEZONE_IA": (_NOW, dt.timedelta(days=30)),
    "GLACIER_IR": (_NOW, dt.timedelta(days=90)),
    "GLACIER": (dt.timedelta(hours=12), dt.timedelta(days=90)),
    "DEEP_ARCHIVE": (dt.timedelta(hours=48), dt.timedelta(days=180)),
    "NEARLINE": (_NOW, dt.timedelta(days=30)),
    "COLDLINE": (_NOW, dt.timedelta(days=90)),
    "ARCHIVE": (_NOW, dt.timedelta(days=365)),
}


def tier(storage_class: str, after: dt.timedelta = dt.timedelta()) -> Tier:
    """Return the tier that packs of this age are in, with what is known of its class."""
    delay, stay = _TIMES.get(storage_class.upper(), (_NOW, _NOW))
    return Tier(storage_class, after, delay, stay)
