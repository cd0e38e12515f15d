"""Facts about the house as a whole that no linter states: names, sizes, borders, and what files may say."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("strongroom", "blocks", "tasks", "flows", "deployments")
CODE = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py")) + sorted((ROOT / "benchmarks").rglob("*.py"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PLAIN_TEXT = {"", ".py", ".md", ".toml", ".sql", ".txt", ".yaml", ".yml", ".html", ".css", ".js", ".json"}
MODULE_LINES = 450
FUNCTION_LINES = 60
# Each costs a process more than 0.3 s, and the engine runs in many short processes.
HEAVY = {"prefect", "great_expectations", "boto3", "supabase", "google", "sqlalchemy"}


def shown(path: Path) -> str:
    """Return a path as it is named in the project."""
    return path.relative_to(ROOT).as_posix()


def tree(path: Path) -> ast.Module:
    """Parse a module."""
    return ast.parse(path.read_text(encoding="utf-8"), shown(path))


def banned_words() -> set[str]:
    """Read the list from the page that is the law of names."""
    page = (ROOT / "docs/glossary.md").read_text(encoding="utf-8").partition("## Banned from identifiers")[2]
    rows = re.findall(r"^\| ([a-z, ]+) \|", page, re.MULTILINE)
    return {word for row in rows for word in row.split(", ")} - {"word"}


def identifiers(module: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield the names that a module gives: classes, functions, arguments, variables; with their lines."""
    for node in ast.walk(module):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name, node.lineno
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                yield name, node.lineno
            case _:
                pass


def words(identifier: str) -> set[str]:
    """Cut a name in either spelling into its words."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", identifier)}


def imported_at_once(module: ast.Module) -> set[str]:
    """Return the modules that importing this one imports as well, and what may be modules in them."""
    found = set()
    for node in module.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def module_name(path: Path) -> str:
    """Return the dotted name of a module."""
    return shown(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def text_files() -> Iterator[Path]:
    """Yield every file of the project that people read."""
    folders = (*PACKAGES, "tests", "benchmarks", "docs", "requirements", ".ci")
    for path in (*ROOT.iterdir(), *(path for folder in folders for path in (ROOT / folder).rglob("*"))):
        if path.is_file() and path.suffix in PLAIN_TEXT and "__pycache__" not in path.parts:
            yield path


def test_the_glossary_bans_words() -> None:
    """The list is found where the page says it is, so that the next test cannot pass for want of words."""
    assert {"manager", "utils", "blob", "prune"} <= banned_words()


def test_banned_words_name_nothing() -> None:
    """No class, function, argument or variable carries a word that the glossary bans."""
    banned = banned_words()
    found = [
        f"{shown(path)}:{line}: {name}"
        for path in (*CODE, *TESTS)
        for name, line in identifiers(tree(path))
        if words(name) & banned
    ]
    assert [] == found


def test_banned_words_name_no_module() -> None:
    """Nor does a file or a folder."""
    banned = banned_words()
    assert [] == [shown(path) for path in (*CODE, *TESTS) if words(shown(path)) & banned]


def test_modules_have_one_subject() -> None:
    """A module that has grown past 450 lines has two subjects, or tests that belong to two rooms."""
    lengths = {shown(path): len(path.read_text(encoding="utf-8").splitlines()) for path in CODE}
    # The error tree is one subject and a catalogue: it grows with what can go wrong.
    lengths.pop("strongroom/errors.py")
    assert {} == {name: lines for name, lines in lengths.items() if lines > MODULE_LINES}


def test_functions_fit_on_a_screen() -> None:
    """No function is longer than 60 lines, docstring included."""
    long = [
        f"{shown(path)}:{node.lineno}: {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for path in CODE
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= FUNCTION_LINES
    ]
    assert [] == long


def test_the_engine_imports_heavy_libraries_late() -> None:
    """Only the integrity room, itself imported late, pulls a heavy library in by being imported."""
    imports = {
        module_name(path): imported_at_once(tree(path))
        for path in CODE
        if shown(path).startswith("strongroom/")
    }
    slow = {name for name, others in imports.items() if HEAVY & {other.partition(".")[0] for other in others}}
    while more := {name for name, others in imports.items() if slow & others} - slow:
        slow |= more
    assert set() == {name for name in slow if not name.startswith("strongroom.integrity.")}


def test_every_package_ships() -> None:
    """A folder with modules has an `__init__.py`: without it, an installed copy lacks the folder."""
    folders = {path.parent for path in CODE}
    assert [] == sorted(shown(folder) for folder in folders if not (folder / "__init__.py").exists())


# Built from pieces, since this file is searched too.
_MACHINE_PATHS = [
    root + rest for root, rest in (("/work", "/"), ("/ro", "ot/"), ("/tmp/", "w/"), ("/opt/", "py"))
]
_REGISTRIES = ["py" + "pi.org", "python" + "hosted", "registry." + "npm", "index" + "-url", "find" + "-links"]


@pytest.mark.parametrize("forbidden", [_MACHINE_PATHS, _REGISTRIES], ids=["machine paths", "registry hosts"])
def test_no_file_names(forbidden: list[str]) -> None:
    """The project says nothing of the machines it was made on, nor where packages come from."""
    pattern = re.compile("|".join(rf"(?<![\w.~$}}-]){re.escape(text)}" for text in forbidden))
    found = [
        f"{shown(path)}: {match.group()}"
        for path in text_files()
        for match in pattern.finditer(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert [] == found


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file of the project."""
    links = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [] == [link for link in links if not (page.parent / link).exists()]


def test_decisions_are_numbered_without_gaps() -> None:
    """Records are cited by number, so numbers are neither reused nor skipped."""
    numbers = sorted(int(path.name[:4]) for path in (ROOT / "docs/decisions").glob("*.md"))
    assert list(range(1, len(numbers) + 1)) == numbers


def test_a_decision_has_its_four_parts() -> None:
    """Context, options, outcome and price: a record without a price was not a decision."""
    for path in (ROOT / "docs/decisions").glob("*.md"):
        headings = re.findall(r"^## (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert headings == ["Context", "Options", "Outcome", "Price"], shown(path)


def test_locked_requirements_are_hashed_and_agree() -> None:
    """Both lists pin every package with a hash, and the development list changes nothing of the other."""
    pinned = {}
    for name in ("locked", "development", "test-servers"):
        text = (ROOT / f"requirements/{name}.txt").read_text(encoding="utf-8")
        lines = [line for line in re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).splitlines() if line]
        assert all(re.match(r"[a-z0-9-]+==\S+ |    --hash=sha256:[0-9a-f]{64}", line) for line in lines)
        pinned[name] = {line.removesuffix(" \\") for line in lines if "==" in line}
    assert pinned["locked"] <= pinned["development"]
