"""Loading the user's own suites: what is usable is loaded whole, and nothing that could be lost passes."""

import json
from pathlib import Path
from typing import Any

import pytest

from strongroom.errors import ExpectationsUnusable
from strongroom.integrity.own_suites import OwnSuite, load_suites, parse_name

EXAMPLES = Path(__file__).resolve().parents[2] / "expectations"

NOT_NULL = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "name"}}
SECRET = "seldom-seen-4711"
"""Stands where values of the user's are, which no error may repeat."""


def write(folder: Path, name: str, content: object) -> Path:
    """Write a file: JSON of what is not text already."""
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def suite(*expectations: object, **more: object) -> dict[str, object]:
    """Make the document of a suite."""
    return {"name": "a suite", "expectations": list(expectations), **more}


def kinds(loaded: OwnSuite) -> list[str]:
    """Return the types of a suite's expectations."""
    return [expectation.expectation_type for expectation in loaded.expectations]


def test_the_examples_load() -> None:
    """The folder of examples has a suite for each table that QuantForge cares about."""
    loaded = load_suites(EXAMPLES)
    assert [(s.schema, s.name, len(s.expectations)) for s in loaded] == [
        ("public", "backtests", 2),
        ("public", "candles", 5),
        ("public", "profiles", 2),
        ("public", "robots", 4),
        ("public", "ticks", 3),
        ("public", "trades", 3),
    ]


def test_json_and_modules_add_up(tmp_path: Path) -> None:
    """What two files say of one table is one suite, in the order of the files' names."""
    write(tmp_path, "public.robots.json", suite(NOT_NULL))
    write(
        tmp_path,
        "more.py",
        "import great_expectations.expectations as gxe\n"
        "def suites():\n"
        "    return {'public.robots': [gxe.ExpectTableRowCountToBeBetween(min_value=1, severity='warning')]}\n",
    )
    (loaded,) = load_suites(tmp_path)
    assert kinds(loaded) == [
        "expect_table_row_count_to_be_between",
        "expect_column_values_to_not_be_null",
    ]
    assert [e.severity.value for e in loaded.expectations] == ["warning", "critical"]


def test_pages_and_hidden_files_are_no_suites(tmp_path: Path) -> None:
    """Text about suites, hidden files, and modules that others import may lie beside them."""
    write(tmp_path, "README.md", "# mine")
    write(tmp_path, ".hidden.yaml", "x")
    write(tmp_path, "_shared.py", "LEAST = 3\n")
    write(
        tmp_path,
        "own.py",
        "from _shared import LEAST\n"
        "import great_expectations.expectations as gxe\n"
        "def suites():\n"
        "    return {'public.robots': [gxe.ExpectTableRowCountToBeBetween(min_value=LEAST)]}\n",
    )
    (loaded,) = load_suites(tmp_path)
    assert loaded.expectations[0].min_value == 3


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("public.robots", ("public", "robots")),
        ("public.Weird Table-Name", ("public", "Weird Table-Name")),
        ('"a.b"."c""d"', ("a.b", 'c"d')),
        ("public.a.b", ("public", "a.b")),
        ("robots", None),
        (".robots", None),
        ("public.", None),
    ],
)
def test_names_are_schema_and_table(text: str, name: tuple[str, str] | None) -> None:
    """The first dot parts schema and table, unless the schema is quoted as in SQL."""
    assert parse_name(text) == name


def without(document: dict[str, Any], key: str) -> dict[str, Any]:
    """Return a document without a key."""
    return {k: v for k, v in document.items() if k != key}


UNUSABLE_SUITES: dict[str, tuple[object, str]] = {
    "not JSON": ("{\n{", "it is not JSON in line 2"),
    "not an object": ([], "it is not a suite"),
    "no list": ({"name": "x"}, "it is not a suite"),
    "empty": (suite(), "an empty suite would pass"),
    "misspelt key of the suite": (suite(NOT_NULL, expectation=[]), "unknown key 'expectation'"),
    "no type": (suite(without(NOT_NULL, "type")), "expectation 1 has no"),
    "unknown type": (suite(NOT_NULL, {"type": "expect_wonders"}), "2 has the unknown type 'expect_wonders'"),
    "misspelt key": (suite({**NOT_NULL, "severitty": "warning"}), "unknown key 'severitty'"),
    "bad severity": (suite({**NOT_NULL, "severity": "fatal"}), "the severity of expectation 1"),
    "severity of another type": (
        suite({**NOT_NULL, "severity": ["warning"]}),
        "the severity of expectation 1",
    ),
    "kwargs of another type": (suite({**NOT_NULL, "kwargs": [1]}), '"kwargs" of expectation 1'),
    "unknown argument": (
        suite({**NOT_NULL, "kwargs": {"column": "name", "min_valu": SECRET}}),
        "min_valu: value_error.extra",
    ),
    "missing argument": (suite({**NOT_NULL, "kwargs": {}}), "column: value_error.missing"),
    "argument of the wrong type": (
        suite({**NOT_NULL, "kwargs": {"column": "name", "mostly": SECRET}}),
        "expectation 1 is refused: mostly",
    ),
    "twice the same key": ('{"expectations": [{"type": "a", "type": "b"}]}', "stands in it twice"),
    "fetches rows": (
        suite({"type": "unexpected_rows_expectation", "kwargs": {"unexpected_rows_query": "SELECT 1"}}),
        "fetch rows out of the database",
    ),
    "parameter": (
        suite(
            {
                "type": "expect_column_values_to_be_between",
                "kwargs": {"column": "at", "min_value": {"$PARAMETER": SECRET}},
            }
        ),
        "has a parameter",
    ),
    "another table": (
        suite({"type": "strongroom_rows_hold", "kwargs": {"sql": "SELECT count(*) FROM public.robots"}}),
        "never says {table}",
    ),
}


@pytest.mark.parametrize("fault", UNUSABLE_SUITES)
def test_unusable_json_is_refused(fault: str, tmp_path: Path) -> None:
    """Whatever Great Expectations would drop, or take for something else, is an error that names the file."""
    document, problem = UNUSABLE_SUITES[fault]
    path = write(tmp_path, "public.robots.json", document)
    with pytest.raises(ExpectationsUnusable) as caught:
        load_suites(tmp_path)
    assert caught.value.context["path"] == path
    assert problem in caught.value.render()
    assert SECRET not in str(caught.value.document())


_RETURNS = "import great_expectations.expectations as gxe\ndef suites():\n    return "

UNUSABLE_MODULES = {
    "no function": ("x = 1\n", "it has no function suites()"),
    "syntax": ("x = 1\ndef (\n", "it raised SyntaxError in line 2"),
    "raises at once": (f"\n\nraise ValueError('{SECRET}')\n", "it raised ValueError in line 3"),
    "raises when asked": (
        f"def suites():\n    return deeper()\ndef deeper():\n    raise KeyError('{SECRET}')\n",
        "it raised KeyError in line 4",
    ),
    "ends the process": ("import sys\nsys.exit(0)\n", "it raised SystemExit in line 2"),
    "missing module": ("import no_such_module_anywhere\n", "it raised ModuleNotFoundError in line 1"),
    "nothing": (f"{_RETURNS}None\n", "did not return a dict"),
    "no suites": (f"{_RETURNS}{{}}\n", "did not return a dict"),
    "no table": (f"{_RETURNS}{{'robots': []}}\n", "a key that is not schema.table"),
    "key of another type": (f"{_RETURNS}{{1: []}}\n", "a key that is not schema.table"),
    "empty": (f"{_RETURNS}{{'public.robots': []}}\n", "an empty suite would pass"),
    "no expectation": (f"{_RETURNS}{{'public.robots': [{{'type': 'x'}}]}}\n", "none of Great Expectations'"),
    "bad severity": (
        f"{_RETURNS}{{'a.b': [gxe.ExpectTableRowCountToEqual(value=1, severity='fatal')]}}\n",
        "it raised ValidationError in line 3",
    ),
    "fetches rows": (
        f"{_RETURNS}{{'a.b': [gxe.UnexpectedRowsExpectation(unexpected_rows_query='SELECT * FROM {{batch}}')]}}\n",
        "fetch rows out of the database",
    ),
}


@pytest.mark.parametrize("fault", UNUSABLE_MODULES)
def test_unusable_modules_are_refused(fault: str, tmp_path: Path) -> None:
    """What goes wrong in a module of the user's is told by its kind and line, and never with its words."""
    text, problem = UNUSABLE_MODULES[fault]
    path = write(tmp_path, "own.py", text)
    with pytest.raises(ExpectationsUnusable) as caught:
        load_suites(tmp_path)
    assert caught.value.context["path"] == path
    assert problem in caught.value.render()
    assert SECRET not in str(caught.value.document())


@pytest.mark.parametrize("name", ["public.robots.yaml", "public.robots.jsn", "robots.json", "public.robots"])
def test_misnamed_files_are_refused(name: str, tmp_path: Path) -> None:
    """A file that nothing would read is most likely a suite by a wrong name."""
    write(tmp_path, name, suite(NOT_NULL))
    with pytest.raises(ExpectationsUnusable):
        load_suites(tmp_path)


def test_folders_within_are_refused(tmp_path: Path) -> None:
    """Suites in a folder of their own would not be seen."""
    (tmp_path / "public").mkdir()
    write(tmp_path / "public", "public.robots.json", suite(NOT_NULL))
    with pytest.raises(ExpectationsUnusable, match=r"neither a \.json nor a \.py"):
        load_suites(tmp_path)


@pytest.mark.parametrize("exists", [True, False])
def test_nothing_to_run_is_refused(exists: bool, tmp_path: Path) -> None:
    """A folder without suites, or that is not there, is an error: somebody counts on it."""
    folder = tmp_path / "mine"
    if exists:
        folder.mkdir()
    with pytest.raises(ExpectationsUnusable):
        load_suites(folder)
