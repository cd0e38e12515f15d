"""Comparing two descriptions of a database, made by `describe_schema`. Pure.

For example:

    findings = compare(describe_schema(source), describe_schema(destination))
"""

from typing import Any

from strongroom.format.documents import Finding
from strongroom.postgres.schema_description import SERVER, Description

# Only servers of the same major version write these alike.
_OF_ONE_MAJOR = ("not-null constraint ",)


def compare(expected: Description, observed: Description) -> list[Finding]:
    """Return a finding for every object that is missing, differs, or is not in `expected`."""
    same_major = expected.get(SERVER) == observed.get(SERVER)
    findings = []
    for name in sorted((expected.keys() | observed.keys()) - {SERVER}):
        if not same_major and name.startswith(_OF_ONE_MAJOR):
            continue
        want, have = expected.get(name), observed.get(name)
        if not same_major:
            want, have = _without_maintain(want), _without_maintain(have)
        if have is None:
            findings.append(_finding("definition-missing", name, "as in the backup", "not there"))
        elif want is None:
            findings.append(_finding("definition-unexpected", name, "not there", "there"))
        elif want != have:
            differing = [key for key in sorted(want.keys() | have.keys()) if want.get(key) != have.get(key)]
            findings.append(
                _finding(
                    "definition-differs",
                    name,
                    "; ".join(f"{key}: {want.get(key)}" for key in differing),
                    "; ".join(f"{key}: {have.get(key)}" for key in differing),
                )
            )
    return findings


def _without_maintain(properties: dict[str, Any] | None) -> dict[str, Any] | None:
    """Leave out the one privilege that servers before 17 do not have."""
    if properties is None or "grants" not in properties:
        return properties
    return {**properties, "grants": [grant for grant in properties["grants"] if grant[1] != "MAINTAIN"]}


def _finding(code: str, name: str, expected: str, observed: str) -> Finding:
    # Values of settings may be secrets.
    if name.startswith("setting "):
        expected = observed = "not shown"
    return Finding(severity="error", code=code, object=name, expected=expected, observed=observed)
