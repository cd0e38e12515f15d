"""The contract suite: what every store promises, tried on a real one.

It ships with the program, because it is also a preflight: a user's own bucket, through that user's own
gateway, either keeps these promises or cannot hold a repository. Everything happens below a scratch prefix
and is deleted in the end. Example:

    findings = run_contract(store, "scratch", os.urandom)
    broken = [finding for finding in findings if not finding.held]

Where a lock forbids to delete what was just written, that is no broken promise: such a rule is reported with
the lock's code, and what the other rules wrote stays until the lock ends.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from strongroom.errors import ObjectLocked, StrongroomError
from strongroom.stores.contract_bench import Bench, Broken, equal
from strongroom.stores.contract_trials import RULES
from strongroom.stores.protocol import Store

__all__ = ["RULES", "ContractFinding", "run_contract"]


@dataclass(frozen=True, slots=True)
class ContractFinding:
    """What came of one rule: whether the store held it, and if not, what it did instead.

    `code` is that of the error which ended the trial, where one did.
    """

    rule: str
    held: bool
    expected: str = ""
    observed: str = ""
    code: str = ""


def run_contract(
    store: Store,
    scratch_prefix: str,
    random: Callable[[int], bytes],
    *,
    many: int = 1200,
    large_bytes: int = 8 << 20,
    racers: int = 8,
    rounds: int = 12,
    before_rule: Callable[[str], None] | None = None,
) -> list[ContractFinding]:
    """Try every rule on `store` below `scratch_prefix`; return one finding for each.

    `many` small objects are listed (more than one page of any service), `large_bytes` is the size of the
    large object, `racers` the number of threads that race, and `rounds` how often they do: smaller numbers suit
    a slow medium, and prove less. `before_rule` is told each rule before it is tried, and may raise to end it
    all; what earlier rules wrote is gone by then.
    """
    findings = []
    for number, (rule, trial) in enumerate(RULES):
        if before_rule is not None:
            before_rule(rule)
        prefix = f"{scratch_prefix}/{number:02d}-{random(4).hex()}"
        bench = Bench(store, prefix, random, many, large_bytes, racers, rounds)
        findings.append(_try(rule, trial, bench))
    return findings


def _try(rule: str, trial: Callable[[Bench], None], bench: Bench) -> ContractFinding:
    try:
        try:
            trial(bench)
        finally:
            locked = any(bench.at_once(partial(_delete, bench.store), bench.touched))
        if not locked:
            equal("nothing is left after deleting", [], bench.names(bench.prefix))
    except Broken as broken:
        return ContractFinding(rule, held=False, expected=broken.expected, observed=broken.observed)
    except StrongroomError as error:
        observed = f"{error.code}: {error}"
        return ContractFinding(rule, held=False, expected="no error", observed=observed, code=error.code)
    except Exception as error:  # noqa: BLE001 (an error outside the tree breaks the contract too)
        return ContractFinding(rule, held=False, expected="coded errors only", observed=repr(error))
    return ContractFinding(rule, held=True)


def _delete(store: Store, name: str) -> bool:
    """Delete what a trial wrote; return whether a lock keeps it."""
    try:
        store.delete(name)
    except ObjectLocked:
        return True
    return False
