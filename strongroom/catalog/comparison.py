"""Whether what an earlier capture holds of a table can be built on. Pure."""

from collections.abc import Sequence

from strongroom.format.documents import Column, TableFacts


def scratch_reason(before: TableFacts | None, present: TableFacts) -> str:
    """Return why a table must be read from scratch, or an empty string if its rows can be compared."""
    if before is None:
        return "the parent does not have it"
    if present.access_method != "heap":
        return f"its access method is {present.access_method}"
    if before.file_node != present.file_node:
        return "it was rewritten (TRUNCATE, CLUSTER, VACUUM FULL or ALTER)"
    if _form(before.columns) != _form(present.columns):
        return "its columns changed"
    if not set(before.type_facts) <= set(present.type_facts):
        return "a type or a name that its columns rest on changed"
    return ""


def _form(columns: Sequence[Column]) -> list[tuple[object, ...]]:
    """Return what of the columns the COPY text depends on."""
    return [(c.name, c.number, c.type_oid, c.type_modifier, c.generated) for c in columns]
