"""The user's own suites: loaded from a folder, and refused as a whole if anything in it could pass for want of sense.

`<schema>.<table>.json` holds a suite as Great Expectations writes it; a Python module holds a function
`suites()` that returns expectations by table. Great Expectations itself drops what it does not know and lets an
empty suite pass: here every such thing raises. How to write them is in `docs/expectations.md`. Example:

    suites = load_suites(Path("expectations"))
    suites[0].schema, suites[0].name, suites[0].expectations

Imports Great Expectations: import this module late. A Python module of the user's runs with the rights of this
process, and only from the folder that the settings name.
"""

import json
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any, NoReturn

from great_expectations.exceptions import ExpectationNotFoundError
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.registry import get_expectation_impl

from strongroom.errors import ExpectationsUnusable
from strongroom.integrity.evaluation import quiet

# Registers `strongroom_rows_hold`.
from strongroom.integrity.expectations import StrongroomRowsHold

_IGNORED = frozenset({".md", ".txt"})
_SUITE_KEYS = frozenset({"name", "expectations", "meta", "notes", "id"})
_EXPECTATION_KEYS = frozenset(
    {"type", "kwargs", "severity", "meta", "notes", "description", "id", "rendered_content"}
)
_SEVERITIES = ("critical", "warning", "info")
_PULLS_ROWS = frozenset({"unexpected_rows_expectation", "expect_query_results_to_match_comparison"})
"""Types that fetch the rows that they find, which here must stay in the database."""

_NAME = re.compile(r'(?P<schema>"(?:[^"]|"")+"|[^".]+)\.(?P<name>"(?:[^"]|"")+"|[^"]+)', re.DOTALL)


@dataclass(frozen=True)
class OwnSuite:
    """What the user expects of one table, in the order of the files; `path` names the first of them."""

    schema: str
    name: str
    path: str
    expectations: tuple[Any, ...]

    @property
    def title(self) -> str:
        """What the suite is called."""
        return f"{self.schema}.{self.name} (own)"


def load_suites(folder: Path) -> tuple[OwnSuite, ...]:
    """Load every suite in `folder`, sorted by table. Raises `ExpectationsUnusable`."""
    found: dict[tuple[str, str], OwnSuite] = {}
    with quiet():
        for path in _files(folder):
            loaded = _from_json(path) if path.suffix == ".json" else _from_module(path)
            for table, expectations in loaded:
                before = found.get(table)
                found[table] = OwnSuite(
                    *table,
                    before.path if before else str(path),
                    (*(before.expectations if before else ()), *expectations),
                )
    if not found:
        _refuse(folder, "it has no suite in it")
    return tuple(found[table] for table in sorted(found))


def _refuse(path: Path, problem: str) -> NoReturn:
    raise ExpectationsUnusable(path=path, problem=problem)


def _files(folder: Path) -> list[Path]:
    """Return the files with suites; what is neither a suite nor a page about them is most likely a misnamed one."""
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise ExpectationsUnusable(path=folder, problem=error.strerror or "it cannot be read") from error
    wanted = []
    for path in paths:
        if path.name == "__pycache__" or path.suffix in _IGNORED:
            continue
        if path.suffix not in {".json", ".py"} or not path.is_file():
            _refuse(path, "it is neither a .json nor a .py file, so its suites would not be seen")
        # A module that others of the user's import is no suite.
        if path.suffix == ".json" or not path.name.startswith("_"):
            wanted.append(path)
    return wanted


def parse_name(text: str) -> tuple[str, str] | None:
    """Return schema and table of `schema.table`, each of which may be quoted as in SQL."""
    match = _NAME.fullmatch(text)
    return (_unquoted(match["schema"]), _unquoted(match["name"])) if match else None


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


# ---------------------------------------------------------------- JSON


def _from_json(path: Path) -> Iterator[tuple[tuple[str, str], list[Any]]]:
    """Load a suite of the table that the file is named after."""
    table = parse_name(path.name.removesuffix(".json"))
    if table is None:
        _refuse(path, "its name is not <schema>.<table>.json")
    try:
        document = json.loads(path.read_text("utf-8"), object_pairs_hook=_without_repetition)
    except (OSError, ValueError, RecursionError) as error:
        place = f" in line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        what = str(error) if isinstance(error, _Repeated) else "it is not JSON"
        raise ExpectationsUnusable(path=path, problem=what + place) from error
    if not isinstance(document, dict) or not isinstance(document.get("expectations"), list):
        _refuse(path, 'it is not a suite: an object with a list of "expectations"')
    _refuse_unknown(path, "the suite", document, _SUITE_KEYS)
    if not document["expectations"]:
        _refuse(path, "it has no expectations, and an empty suite would pass")
    yield table, [_configured(path, *numbered) for numbered in enumerate(document["expectations"], 1)]


class _Repeated(ValueError):
    """A key stands twice in an object, so one of the two values would be lost."""


def _without_repetition(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Repeated("a key stands in it twice")
    return found


def _refuse_unknown(path: Path, where: str, document: Mapping[str, Any], known: Iterable[str]) -> None:
    unknown = sorted(set(document) - set(known))
    if unknown:
        _refuse(path, f"{where} has the unknown key {unknown[0]!r}")


def _configured(path: Path, number: int, document: Any) -> Any:
    """Make the expectation of one entry."""
    where = f"expectation {number}"
    if not isinstance(document, dict) or not isinstance(document.get("type"), str):
        _refuse(path, f'{where} has no "type"')
    _refuse_unknown(path, where, document, _EXPECTATION_KEYS)
    kwargs, severity = document.get("kwargs", {}), document.get("severity", "critical")
    if not isinstance(kwargs, dict):
        _refuse(path, f'the "kwargs" of {where} are not an object')
    if severity not in _SEVERITIES:
        _refuse(path, f"the severity of {where} is none of {', '.join(_SEVERITIES)}")
    try:
        kind: Any = get_expectation_impl(document["type"])
    except ExpectationNotFoundError as error:
        raise ExpectationsUnusable(
            path=path, problem=f"{where} has the unknown type {document['type']!r}"
        ) from error
    description = document.get("description")
    given = {"description": description} if isinstance(description, str) else {}
    with _refused(path, where):
        return _usable(path, where, kind(**{**given, **kwargs, "severity": severity}))


@contextmanager
def _refused(path: Path, where: str) -> Iterator[None]:
    """Turn what making an expectation raises into a coded error, without the values that it was given."""
    try:
        yield
    except ExpectationsUnusable:
        raise
    except Exception as error:
        raise ExpectationsUnusable(path=path, problem=f"{where} is refused: {_fields(error)}") from error


def _fields(error: Exception) -> str:
    """Name the fields that pydantic complains about, and why; or only the kind of error."""
    errors = getattr(error, "errors", None)
    if not callable(errors):
        return type(error).__name__
    complaints = [
        f"{'.'.join(str(part) for part in one['loc'] if part != '__root__') or 'its fields'}: {one['type']}"
        for one in errors()
    ]
    return "; ".join(complaints) or type(error).__name__


def _usable(path: Path, where: str, expectation: Any) -> Any:
    """Return an expectation that can be handed on, or raise."""
    if expectation.expectation_type in _PULLS_ROWS:
        _refuse(path, f"{where} would fetch rows out of the database: count them with strongroom_rows_hold")
    if getattr(expectation.severity, "value", None) not in _SEVERITIES:
        _refuse(path, f"the severity of {where} is none of {', '.join(_SEVERITIES)}")
    if "$PARAMETER" in repr(expectation.configuration.kwargs):
        _refuse(path, f"{where} has a parameter ($PARAMETER), which nobody would give it")
    if isinstance(expectation, StrongroomRowsHold) and "{table}" not in expectation.sql:
        _refuse(
            path, f"the sql of {where} never says {{table}}, so it would not look at the rows in question"
        )
    return expectation


# ---------------------------------------------------------------- Python


def _from_module(path: Path) -> Iterator[tuple[tuple[str, str], list[Any]]]:
    """Run a module of the user's and load what its `suites()` returns."""
    returned = _run(path)
    if not isinstance(returned, dict) or not returned:
        _refuse(path, "suites() did not return a dict with expectations by table")
    for key, expectations in returned.items():
        table = parse_name(key) if isinstance(key, str) else None
        if table is None:
            _refuse(path, "suites() returned a key that is not schema.table")
        if not isinstance(expectations, list | tuple) or not expectations:
            _refuse(path, f"suites() has no expectations for {key}, and an empty suite would pass")
        for number, expectation in enumerate(expectations, 1):
            if not isinstance(expectation, Expectation):
                _refuse(path, f"expectation {number} of {key} is none of Great Expectations'")
            _usable(path, f"expectation {number} of {key}", expectation)
        yield table, list(expectations)


def _run(path: Path) -> Any:
    """Return what the `suites()` of a module returns."""
    names: dict[str, Any] = {"__name__": f"strongroom_own_suites_{path.stem}", "__file__": str(path)}
    # Last, so that nothing in the folder takes the place of a module of the library's.
    sys.path.append(str(path.parent))
    try:
        code: CodeType = compile(path.read_bytes(), str(path), "exec")
        exec(code, names)  # noqa: S102 - the user's own code, from the folder that the user named
        function = names.get("suites")
        if callable(function):
            return function()
    # SystemExit is none of Exception, and a module that ends the process must not end the judgement in silence.
    except (Exception, SystemExit) as error:
        raise ExpectationsUnusable(
            path=path, problem=f"it raised {type(error).__name__} in line {_line(error, path)}"
        ) from error
    finally:
        sys.path.remove(str(path.parent))
    _refuse(path, "it has no function suites()")


def _line(error: BaseException, path: Path) -> int:
    """Return the last line of the module that had to do with an error."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno or 0
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
    ]
    return lines[-1] if lines and lines[-1] else 0
