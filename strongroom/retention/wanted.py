"""Which backups a location should have: what its rules keep, wherever a copy of it is now. Pure.

For example: `wanted_at(catalog, policy, "archive", now) - listed["archive"]` is what has to be copied there.
"""

import datetime as dt

from strongroom.retention.facts import RetentionCatalog
from strongroom.retention.policy import RetentionPolicy
from strongroom.retention.reasons import kept_by_rules


def wanted_at(
    catalog: RetentionCatalog, policy: RetentionPolicy, location: str, now: dt.datetime
) -> frozenset[str]:
    """Return the backups that the location's rules keep, and of each source the newest and the newest full.

    Those two are what the next backup builds on, should it be written there. A location that the policy does not
    name wants nothing.
    """
    rules = policy.rules_in_force().get(location)
    if rules is None:
        return frozenset()
    found: set[str] = set()
    for backups in catalog.by_source().values():
        kept = kept_by_rules(backups, location, rules, now)
        found |= {backup for backup, reasons in kept.items() if reasons}
        found.add(backups[-1].id)
        found |= {next((b.id for b in reversed(backups) if b.kind == "full"), backups[-1].id)}
    return frozenset(found)
