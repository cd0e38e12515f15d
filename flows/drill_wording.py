"""How the evidence of a drill is worded for people, in Prefect and on a terminal alike."""

from flows.wording import duration
from strongroom.drill.evidence import detection_percent, is_equal, undetected
from strongroom.format.records import DrillRecord


def beside(measured: float, objective: float) -> str:
    """Word a duration that was measured, beside what was aimed at."""
    if not objective:
        return f"{duration(measured)} (no objective)"
    kept = "kept" if measured <= objective else "MISSED"
    return f"{duration(measured)} of {duration(objective)}: {kept}"


def equal_tables(record: DrillRecord) -> str:
    """Word how many tables are what the backup says."""
    rows = sum(max(0, table.rows) for table in record.tables)
    return f"{sum(map(is_equal, record.tables))} of {len(record.tables)} equal the baseline, {rows} rows"


def damage_noticed(record: DrillRecord) -> str:
    """Word how much of the damage was noticed."""
    done = len(record.damages)
    return f"{done - len(undetected(record))} of {done}: {detection_percent(record):g} %"
