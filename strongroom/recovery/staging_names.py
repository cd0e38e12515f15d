"""What the objects of a recovery are called in the destination. Pure.

Everything is in one schema, so that removing it removes all. A rollback has a schema of its own: it reads what the
run that it undoes has left in the other.
"""

from strongroom.format.recovery_plans import RecoveryPlan
from strongroom.postgres.digest import quote_identifier
from strongroom.recovery.mapping import MappedTable

RUN_SCHEMA = "strongroom_staging"
ROLLBACK_SCHEMA = "strongroom_rollback"
SCHEMAS = (RUN_SCHEMA, ROLLBACK_SCHEMA)


def schema_of(plan: RecoveryPlan) -> str:
    """Return the schema of a plan's run."""
    return ROLLBACK_SCHEMA if plan.undoes else RUN_SCHEMA


def staged_rows(schema: str, number: int) -> str:
    """Name the table of the wanted rows of table `number` of the plan, as quoted SQL."""
    return f"{quote_identifier(schema)}.rows_{number}"


def needs_whole(plan: RecoveryPlan, mapped: MappedTable) -> bool:
    """Tell whether all rows of a table are staged though only some are wanted.

    Where rows are deleted because they meet a condition and are not wanted, it has to be known that the backup does
    not have them: some may have met the condition only since, and a condition may read the time, or other tables.
    """
    return bool(mapped.where) and plan.strategy == "exact"


def whole_rows(schema: str, number: int) -> str:
    """Name the table of all rows of table `number` in the backup, where a condition says which are wanted."""
    return f"{quote_identifier(schema)}.whole_{number}"


def found_differences(schema: str, number: int) -> str:
    """Name the table of what differs in table `number` of the plan, as quoted SQL."""
    return f"{quote_identifier(schema)}.differences_{number}"
