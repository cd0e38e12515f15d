"""Plan the golden retention cases, or prove that today's code still plans them the same way.

    python -m tests.golden.make_retention            write the plans under tests/golden/retention anew
    python -m tests.golden.make_retention --verify   compare them with today's; the tests do this

A file holds cases; a case is a title (`== A sentence.`), lines of what is given, and under `--` what is planned,
which this script writes. Given are:

    now 2026-11-23 12:00
    default disk:local s3:archive                  the rules of the roles
    location s3 archive daily=7 within=24h         rules of its own (also weekly, monthly, emergency)
    policy retention_days=10 max_silence=400d
    guard quiet=0d collapse=0.5
    backup b1 2026-11-22 06:00 full at=disk,s3 reach=a:100,b:50 tables=trades:1000
    series b 2026-11-01 00:00 +6h x40 incremental
    hold b1 2026-12-01 00:00 because of an audit   (or: hold b1 for ever, because …)
    seen 2026-11-22 03:00 retention last ran
    in-use b1
    accept main b1

A backup is, unless its line says otherwise, a scheduled full of the source `main`, proven at level `structure`, at
every location of the policy; it read rows that are new, and reaches one object of its own of 100 bytes.
"""

import argparse
import datetime as dt
import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from strongroom.errors import RetentionError
from strongroom.format.documents import ObjectRef
from strongroom.quantities import duration_seconds
from strongroom.retention.facts import PROOFS, BackupFacts, Hold, LastSeen, ObjectTable, RetentionCatalog
from strongroom.retention.guard import GuardLimits
from strongroom.retention.plan import Expiry, RetentionPlan, plan_retention
from strongroom.retention.policy import LocationPolicy, RetentionPolicy, Role, Rules, default_rules

FOLDER = Path(__file__).parent / "retention"
_KINDS = ("full", "differential", "incremental")


@dataclass
class Case:
    """What one case gives; `given` are its lines as they stand in the file."""

    title: str
    given: list[str] = field(default_factory=list)
    planned: list[str] = field(default_factory=list)
    now: dt.datetime = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
    policy: RetentionPolicy = field(default_factory=lambda: RetentionPolicy(()))
    backups: list[BackupFacts] = field(default_factory=list)
    objects: ObjectTable = field(default_factory=ObjectTable)
    arguments: dict[str, Any] = field(
        default_factory=lambda: {"holds": [], "in_use": frozenset(), "accepted": {}, "last_seen": None}
    )

    def read(self) -> None:
        """Make values of the lines."""
        for line in self.given:
            word, _, rest = line.partition("#")[0].strip().partition(" ")
            if word:
                getattr(self, "_" + word.replace("-", "_"))(rest.split())

    def plan(self) -> RetentionPlan:
        """Plan the case. Raises `RetentionError` where it is to be refused."""
        catalog = RetentionCatalog.of(self.backups, self.objects.sizes())
        return plan_retention(catalog, self.policy, self.now, **self.arguments)

    def _now(self, words: Sequence[str]) -> None:
        self.now = _instant(words)

    def _default(self, words: Sequence[str]) -> None:
        named = [cast("tuple[str, Role]", tuple(word.split(":"))) for word in words]
        self.policy = RetentionPolicy.by_default(named)

    def _location(self, words: Sequence[str]) -> None:
        rules: dict[str, Any] = {}
        for word in words[2:]:
            name, _, value = word.partition("=")
            is_span = name in {"within", "emergency"}
            rules["keep_within" if name == "within" else name] = _span(value) if is_span else int(value)
        role = cast("Role", words[1])
        chosen = Rules(**rules) if rules else default_rules(role)
        added = LocationPolicy(words[0], role, chosen)
        self.policy = replace(self.policy, locations=(*self.policy.locations, added))

    def _policy(self, words: Sequence[str]) -> None:
        for name, value in (word.split("=") for word in words):
            given: dict[str, Any] = {name: int(value) if name == "retention_days" else _span(value)}
            self.policy = replace(self.policy, **given)

    def _guard(self, words: Sequence[str]) -> None:
        limits: dict[str, Any] = {}
        for name, value in (word.split("=") for word in words):
            limits[name] = (
                _span(value)
                if name == "quiet"
                else frozenset(value.split(","))
                if name == "exempt"
                else float(value)
            )
        self.policy = replace(self.policy, guard=replace(GuardLimits(), **limits))

    def _backup(self, words: Sequence[str]) -> None:
        self._add(words[0], _instant(words[1:3]), words[3:])

    def _series(self, words: Sequence[str]) -> None:
        first, step = _instant(words[1:3]), _span(words[3].removeprefix("+"))
        for number in range(int(words[4].removeprefix("x"))):
            self._add(f"{words[0]}{number:03}", first + number * step, words[5:])

    def _add(self, name: str, taken_at: dt.datetime, words: Sequence[str]) -> None:
        plain = {word for word in words if "=" not in word}
        said = dict(word.split("=", 1) for word in words if "=" in word)
        tables = _numbers(said.get("tables", ""))
        kind = next((kind for kind in _KINDS if kind in plain), "full")
        places = said["at"].split(",") if "at" in said else [place.name for place in self.policy.locations]
        proof = next((level for level in PROOFS if level in plain), "structure")
        reach = {name: 100} | _numbers(said.get("reach", ""))
        self.backups.append(
            BackupFacts(
                id=name,
                kind=cast("Any", kind),
                backup_class="emergency" if "emergency" in plain else "scheduled",
                source=said.get("source", "main"),
                taken_at=taken_at,
                locations=tuple(places),
                reach=self.objects.reach(ObjectRef(name=n, size=s, sha256="") for n, s in reach.items()),
                proven="" if "unproven" in plain else cast("Any", proof),
                damaged_at=tuple(said["damaged"].split(",")) if "damaged" in said else (),
                parent=said.get("parent", ""),
                rows=int(said.get("rows", sum(tables.values()))),
                rows_read=int(said.get("read", 1 + len(self.backups))),
                bytes_raw=int(said.get("raw", 0)),
                bytes_stored=int(said.get("stored", 0)),
                tables=tuple(tables),
                table_rows=np.array(list(tables.values()), np.int64),
            )
        )

    def _hold(self, words: Sequence[str]) -> None:
        forever = words[1] == "for"
        until = None if forever else _instant(words[1:3])
        self.arguments["holds"].append(Hold(words[0], until, " ".join(words[3:])))

    def _seen(self, words: Sequence[str]) -> None:
        self.arguments["last_seen"] = LastSeen(_instant(words[:2]), " ".join(words[2:]))

    def _in_use(self, words: Sequence[str]) -> None:
        self.arguments["in_use"] = frozenset(words)

    def _accept(self, words: Sequence[str]) -> None:
        self.arguments["accepted"][words[0]] = words[1]


def _instant(words: Sequence[str]) -> dt.datetime:
    """Read a date and a time of day, UTC unless an offset stands behind it, as in 01:30+02:00."""
    instant = dt.datetime.fromisoformat(f"{words[0]}T{words[1]}")
    return instant if instant.tzinfo else instant.replace(tzinfo=dt.UTC)


def _span(text: str) -> dt.timedelta:
    return dt.timedelta(seconds=duration_seconds(text))


def _numbers(text: str) -> dict[str, int]:
    """Read `a:100,b:50`."""
    return {name: int(number) for name, number in (part.split(":") for part in text.split(",") if part)}


# ------------------------------------------------------------------------------------------ files


def cases_in(path: Path) -> list[Case]:
    """Read the cases of a file, each with what is planned as it stands there."""
    found: list[Case] = []
    planned = False
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("== "):
            found.append(Case(line.removeprefix("== ")))
            planned = False
        elif line == "--":
            planned = True
        elif line and found:
            (found[-1].planned if planned else found[-1].given).append(line)
    for case in found:
        case.read()
    return found


def planned_lines(case: Case) -> list[str]:
    """Plan a case and write the plan, or the refusal, as lines."""
    try:
        plan = case.plan()
    except RetentionError as error:
        return [f"refused {error.code}: {error.render()}"]
    return [
        *(
            f"keep {keep.location} {keep.backup}: "
            + "; ".join(f"{reason.rule} {reason.slot}".strip() for reason in keep.reasons)
            for keep in plan.keeps
        ),
        *_expiry_lines(plan.expiries),
        *(
            f"held {held.source} by {f.code} ({f.object}): {f.observed}"
            for held in plan.held_by
            for f in held.findings
        ),
        *(f"note {f.severity} {f.code} ({f.object}) {f.observed}".rstrip() for f in plan.findings),
    ]


def _expiry_lines(expiries: Iterable[Expiry]) -> Iterator[str]:
    """Write expiries; those that follow each other for the same reason share a line."""
    for (location, text), same in itertools.groupby(expiries, key=lambda e: (e.location, e.reason.text)):
        run = list(same)
        names = " ".join(e.backup for e in run)
        if len(run) > 4:
            names = f"{run[0].backup} … {run[-1].backup} ({len(run)})"
        yield f"expire {location} {names}: {sum(e.bytes_freed for e in run)} bytes; {text}"


def written(cases: Iterable[Case]) -> str:
    """Write a file anew: what each case gives as it is, what it plans as today's code does."""
    blocks = ([f"== {case.title}", *case.given, "--", *planned_lines(case)] for case in cases)
    return "\n".join("\n".join(block) + "\n" for block in blocks)


def verify() -> list[str]:
    """Return the titles of all cases whose plan is not what the file says."""
    return [
        f"{path.name}: {case.title}"
        for path in sorted(FOLDER.glob("*.txt"))
        for case in cases_in(path)
        if planned_lines(case) != case.planned
    ]


def main() -> int:
    """Write or verify."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--verify", action="store_true", help="compare instead of writing")
    if not parser.parse_args().verify:
        for path in sorted(FOLDER.glob("*.txt")):
            path.write_text(written(cases_in(path)), encoding="utf-8")
            print(f"wrote {path.name}")
        return 0
    wrong = verify()
    for name in wrong:
        print(f"differs: {name}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
