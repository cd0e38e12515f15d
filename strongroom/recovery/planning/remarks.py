"""What a plan must say aloud: what it cannot restore, and what was asked for at the user's own risk. Pure."""

import datetime as dt
from collections.abc import Sequence

from strongroom.format.documents import Finding, Manifest
from strongroom.format.recovery_plans import Scenario, ScopedTable, Strategy
from strongroom.operations.recovery_messages import Wishes
from strongroom.recovery.planning.estimates import Estimate
from strongroom.recovery.planning.facts import PlanFacts, RecoveryPolicy
from strongroom.recovery.planning.scenarios import whole_budget
from strongroom.recovery.planning.scope import label, references_left_out
from strongroom.recovery.planning.wording import instant, listed, span

_BYTES = "the files in Storage: backups hold the rows of storage.objects, not yet the bytes"


def not_restored(
    scenario: Scenario, strategy: Strategy, tables: Sequence[ScopedTable], manifest: Manifest
) -> tuple[str, ...]:
    """Return what the recovery does not give back, in words that end no sentence."""
    point = instant(manifest.snapshot.taken_at)
    has_objects = any(table.schema == "storage" for table in tables)
    if scenario == "complete_failure":
        return (
            f"whatever was written after {point}",
            _BYTES,
            "what Supabase keeps outside the database: project settings, API keys, Edge Functions, their secrets",
            "sessions that were open: users may have to sign in again",
        )
    words = {
        "exact": f"rows written to these tables after {point}: they are deleted or set back, and listed first",
        "merge_missing": f"rows that were changed: only rows that are gone come back, as of {point}",
        "merge_overwrite": f"changes made after {point} to rows that the backup has: they are set back",
    }
    said = [words[strategy]]
    if strategy != "exact":
        said.append("rows that should not be there: a merge deletes nothing")
    said += [
        "the schema: tables, columns, functions, policies and triggers stay as they are now",
        "roles, privileges and large objects, which stay as they are now",
        "numbers that sequences have given out: sequences only move forward",
    ]
    held = {label(entry.facts) for entry in manifest.tables}
    if len(tables) < len(held):
        said.append(f"the {len(held) - len(tables)} other tables of the backup")
    if has_objects:
        said.append(_BYTES)
    return tuple(said)


def findings_of_wishes(scenario: Scenario, wishes: Wishes) -> tuple[Finding, ...]:
    """Return a finding for each guard that was asked to be left out."""
    told = []
    if wishes.force:
        told.append(
            _risked(
                "forced",
                "--force",
                "limits of age and proof are not kept",
                "Leave it out, and see what it complains of.",
            )
        )
    if wishes.skip_verification:
        told.append(
            _risked(
                "verification-skipped",
                "--skip-verification",
                "damage in the repository is met while rows are loaded, not before",
                "Leave it out unless minutes count.",
            )
        )
    if scenario != "complete_failure" and not wishes.emergency_backup:
        told.append(
            _risked(
                "no-emergency-backup",
                "--no-emergency-backup",
                "there is no way back after the commit",
                "Leave it out: an emergency backup reads only what has changed.",
            )
        )
    if scenario != "complete_failure" and not wishes.rollback_on_error:
        told.append(
            _risked(
                "no-rollback",
                "--no-rollback",
                "what fails after the commit is left as it is",
                "Then only a recovery from its emergency backup takes it back.",
            )
        )
    return tuple(told)


def findings_of_plan(
    scenario: Scenario,
    tables: Sequence[ScopedTable],
    facts: PlanFacts,
    policy: RecoveryPolicy,
    estimate: Estimate,
) -> tuple[Finding, ...]:
    """Return what else somebody should know before the recovery."""
    told = list(_times(scenario, policy, estimate))
    if facts.live_unknown and scenario != "complete_failure":
        told.append(
            Finding(
                severity="warning",
                code="live-not-counted",
                object="the live database",
                observed=facts.live_unknown,
                advice="The risk is judged without it. A recovery in place needs the live database to answer.",
            )
        )
    guessed = [
        table.label for table in tables if table.label in facts.live and not facts.live[table.label].is_exact
    ]
    if guessed:
        told.append(
            Finding(
                severity="info",
                code="live-estimated",
                object=listed(guessed),
                observed="counting took too long, so the server's own estimate stands in",
                advice="--preview counts exactly.",
            )
        )
    if scenario == "data_corruption" and not (facts.wishes.before or facts.wishes.backup):
        told.append(
            Finding(
                severity="info",
                code="damage-may-be-older",
                object=facts.manifest.id,
                observed=f"a recovery point of {instant(facts.manifest.snapshot.taken_at)} has every damage done "
                "before it",
                advice="If the damage is older, name the last good instant with --at; --preview shows rows.",
            )
        )
    told += _references(scenario, tables, facts)
    return tuple(told)


def _times(scenario: Scenario, policy: RecoveryPolicy, estimate: Estimate) -> list[Finding]:
    limit = policy.max_recovery_time
    if limit <= dt.timedelta():
        return []  # A limit of zero means that there is none.
    told = []
    if whole_budget(scenario) > limit:
        told.append(
            Finding(
                severity="warning",
                code="budget-over-limit",
                object="recovery.max_recovery_time",
                expected=f"at most {span(limit)}",
                observed=f"the runbook of this scenario gives it {span(whole_budget(scenario))}",
                advice="The limit ends the recovery, which then goes on where it was if it is run again; raise the "
                "setting for large databases.",
            )
        )
    if estimate.seconds > limit.total_seconds():
        told.append(
            Finding(
                severity="warning",
                code="estimate-over-limit",
                object="recovery.max_recovery_time",
                expected=f"at most {span(limit)}",
                observed=f"about {span(estimate.seconds)} are estimated",
                advice="Raise the setting for this recovery, or take fewer tables at a time.",
            )
        )
    return told


def _references(scenario: Scenario, tables: Sequence[ScopedTable], facts: PlanFacts) -> list[Finding]:
    if scenario == "complete_failure":
        return []
    return [
        Finding(
            severity="info",
            code="reference-out-of-scope",
            object=parent,
            observed=f"rows of {listed(list(children))} refer to it, and it is not in scope",
            advice=f"If rows of it are gone too, add --table {parent}; the recovery refuses to break a reference.",
        )
        for parent, children in references_left_out(tables, facts.manifest).items()
    ]


def _risked(code: str, option: str, observed: str, advice: str) -> Finding:
    return Finding(severity="warning", code=code, object=option, observed=observed, advice=advice)
