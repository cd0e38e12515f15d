"""What each scenario is: its destination, its strategies, its steps with their time budgets. Pure.

The budgets are those of the runbooks, in minutes from the start: corruption 0–5 assess, 5–10 prepare, 10–25 recover,
25–30 validate; complete failure 0–2, 2–15, 15–25, 25–60; partial loss 0–5 assess, 5–15 recover, 15–20 validate.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from strongroom.errors import EmergencyBackupNeeded, StrategyUnfit
from strongroom.format.recovery_plans import (
    Phase,
    PlannedDestination,
    PlannedStep,
    Scenario,
    StepName,
    Strategy,
)
from strongroom.operations.recovery_messages import Wishes

_WAY_BACK = "roll back from the emergency backup"
_READ_ONLY = "nothing to undo: it only reads"
_OVER = "nothing to undo: by now it is over"
_STAGED = "drop the staging tables; live was not touched"


@dataclass(frozen=True)
class _Step:
    """A step of every plan: its words, and what undoes it."""

    title: str
    rollback: str
    critical: bool = True


_IN_PLACE_STEPS: Mapping[StepName, _Step] = {
    "check": _Step("Check the live database: tables, columns, rights, who holds locks", _READ_ONLY),
    "verify": _Step("Verify every stored byte that the recovery will read", _READ_ONLY),
    "emergency-backup": _Step(
        "Take and verify an emergency backup: the way back", "nothing to undo: the backup stays for 30 days"
    ),
    "restore": _Step("Load the wanted rows into staging tables, beside the live ones", _STAGED),
    "judge-staging": _Step("Run the integrity suites on the staging tables", _STAGED),
    "reconcile": _Step(
        "Compare with live, and make live agree in one transaction",
        f"before its commit nothing has happened; after it, {_WAY_BACK}",
    ),
    "judge": _Step("Run the integrity suites on the live tables", _WAY_BACK),
    "validate": _Step(
        "Ask as the application would: API roles, smoke checks, health addresses",
        _WAY_BACK,
    ),
    "report": _Step("Remove the staging tables, and store the signed report", _OVER, critical=False),
}

_EMPTY_STEPS: Mapping[StepName, _Step] = {
    "check": _Step("Check that the destination is empty and fit", _READ_ONLY),
    "verify": _Step("Verify every stored byte that the recovery will read", _READ_ONLY),
    "restore": _Step(
        "Make roles and tables, load all rows, make keys, policies and privileges",
        "carry on where it stopped, or empty the destination and begin again; the source is not touched",
    ),
    "judge": _Step(
        "Run the integrity suites on the destination", "do not point the application there; restore again"
    ),
    "validate": _Step(
        "Ask as the application would: API roles, smoke checks, health addresses",
        "do not point the application there; restore again",
    ),
    "report": _Step("Store the report", _OVER, critical=False),
}

_Budgets = tuple[tuple[StepName, Phase, int], ...]

_CORRUPTION: _Budgets = (
    ("check", "assess", 60),
    ("verify", "assess", 240),
    ("emergency-backup", "prepare", 300),
    ("restore", "recover", 480),
    ("judge-staging", "recover", 120),
    ("reconcile", "recover", 300),
    ("judge", "validate", 120),
    ("validate", "validate", 120),
    ("report", "validate", 60),
)

_BUDGETS: Mapping[Scenario, _Budgets] = {
    "data_corruption": _CORRUPTION,
    "custom": _CORRUPTION,
    "partial_loss": (
        ("check", "assess", 60),
        ("verify", "assess", 240),
        # The runbook has no phase of its own for it here: there is less to lose and less to load.
        ("emergency-backup", "recover", 240),
        ("restore", "recover", 180),
        ("judge-staging", "recover", 60),
        ("reconcile", "recover", 120),
        ("judge", "validate", 120),
        ("validate", "validate", 120),
        ("report", "validate", 60),
    ),
    "complete_failure": (
        ("check", "assess", 120),
        ("verify", "prepare", 780),
        ("restore", "recover", 600),
        ("judge", "validate", 1200),
        ("validate", "validate", 600),
        ("report", "validate", 300),
    ),
}

_ROLLBACK: _Budgets = (("restore", "recover", 300), ("reconcile", "recover", 240), ("report", "validate", 60))

_DEFAULTS: Mapping[Scenario, Strategy] = {
    "data_corruption": "exact",
    "partial_loss": "merge_missing",
    "custom": "exact",
    "complete_failure": "empty",
}


def destination_of(scenario: Scenario) -> PlannedDestination:
    """Return where a scenario writes to."""
    return "environment" if scenario == "complete_failure" else "source"


def choose_strategy(scenario: Scenario, wanted: Strategy | None) -> Strategy:
    """Return the strategy, the scenario's own if none is wanted. Raises `StrategyUnfit`."""
    strategy = wanted or _DEFAULTS[scenario]
    if scenario == "complete_failure" and strategy != "empty":
        raise StrategyUnfit(
            strategy=strategy,
            reason="a complete failure is recovered into an empty database, where there is nothing to reconcile",
            instead="no --strategy with this scenario, or another scenario",
        )
    if scenario != "complete_failure" and strategy == "empty":
        raise StrategyUnfit(
            strategy=strategy,
            reason="in place there are rows already",
            instead="exact, merge_missing or merge_overwrite, or the scenario complete_failure",
        )
    if scenario == "data_corruption" and strategy == "merge_missing":
        raise StrategyUnfit(
            strategy=strategy,
            reason="it changes no row that is there, and corrupted rows are there",
            instead="exact or merge_overwrite, or the scenario partial_loss",
        )
    return strategy


def takes_emergency_backup(scenario: Scenario, wishes: Wishes) -> bool:
    """Tell whether the recovery begins with a backup of what is there. Raises `EmergencyBackupNeeded`."""
    if scenario == "complete_failure":
        return False
    if not wishes.emergency_backup and not wishes.force:
        raise EmergencyBackupNeeded
    return wishes.emergency_backup


def steps_of(
    scenario: Scenario, *, emergency_backup: bool, verification: bool = True
) -> tuple[PlannedStep, ...]:
    """Return the steps in order; those that are left out take their budget with them."""
    left_out = {
        name
        for name, is_taken in (("emergency-backup", emergency_backup), ("verify", verification))
        if not is_taken
    }
    words = _EMPTY_STEPS if scenario == "complete_failure" else _IN_PLACE_STEPS
    way_back = _WAY_BACK if emergency_backup else "there is NO way back: no emergency backup is taken"
    budgets = tuple(budget for budget in _BUDGETS[scenario] if budget[0] not in left_out)
    return _steps(budgets, words, way_back)


def steps_of_rollback() -> tuple[PlannedStep, ...]:
    """Return the steps that roll a recovery back; what undoes them is to take them again."""
    return _steps(_ROLLBACK, _IN_PLACE_STEPS, "roll back again: it goes on where it stopped")


def whole_budget(scenario: Scenario) -> dt.timedelta:
    """Return the time that the runbook of a scenario gives to everything."""
    return dt.timedelta(seconds=sum(seconds for _, _, seconds in _BUDGETS[scenario]))


def _steps(budgets: _Budgets, words: Mapping[StepName, _Step], way_back: str) -> tuple[PlannedStep, ...]:
    return tuple(
        PlannedStep(
            name=name,
            title=words[name].title,
            phase=phase,
            critical=words[name].critical,
            budget_seconds=float(seconds),
            rollback=words[name].rollback.replace(_WAY_BACK, way_back),
        )
        for name, phase, seconds in budgets
    )
