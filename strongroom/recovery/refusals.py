"""What the server has against a row that is written: coded errors, without the row's values.

with coded_refusals("public.trades", "exact"):
connection.execute(statement)
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors as pg

from strongroom.errors import ReferencesWouldBreak, SchemaDrifted, StrategyUnfit, ValueTaken
from strongroom.postgres.connection import translate


@contextmanager
def coded_refusals(label: str, strategy: str = "") -> Iterator[None]:
    """Turn what the server has against a row into coded errors, without the row's values."""
    try:
        yield
    except (pg.UniqueViolation, pg.ExclusionViolation) as error:
        raise ValueTaken(object=label, constraint=error.diag.constraint_name or "unique value") from error
    except pg.ForeignKeyViolation as error:
        raise ReferencesWouldBreak(
            rows="some",
            table=_named(error, label),
            key=error.diag.constraint_name or "",
            referenced="another table",
            other="the other table",
        ) from error
    except (pg.NotNullViolation, pg.CheckViolation) as error:
        what = error.diag.constraint_name or f"column {error.diag.column_name} not null"
        raise SchemaDrifted(object=label, detail=f"{what} does not allow a row of the backup") from error
    except pg.ObjectNotInPrerequisiteState as error:
        if isinstance(error, pg.LockNotAvailable):
            raise translate(error, label) from error
        raise StrategyUnfit(
            strategy=strategy,
            reason=f"the server does not let anybody write {label} in this way",
            instead="another",
        ) from error
    except psycopg.Error as error:
        raise translate(error, label) from error


def _named(error: psycopg.Error, label: str) -> str:
    schema, name = error.diag.schema_name, error.diag.table_name
    return f"{schema}.{name}" if schema and name else label
