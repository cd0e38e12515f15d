"""Facts about the error tree: every error can be told apart, says what happened and what to do."""

import ast
import pickle
import re
import string
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import strongroom.errors
from strongroom.errors import StrongroomError, Transient, UnknownBackup

# The drawing at the top of the module is what people read, so it is what the classes are held to.
DRAWN: dict[str, str] = dict(re.findall(r"── (\w+)\s+(SR-\d\d)xx", strongroom.errors.__doc__ or ""))


def descendants(kind: type[StrongroomError]) -> Iterator[type[StrongroomError]]:
    """Yield every class below `kind`, each once for every way that leads to it."""
    for child in kind.__subclasses__():
        yield child
        yield from descendants(child)


TREE = sorted(
    {
        kind
        for kind in descendants(StrongroomError)
        if kind is not Transient and kind.__module__ == strongroom.errors.__name__
    },
    key=lambda kind: (kind.code, kind.__name__),
)
NAMED = [kind for kind in TREE if StrongroomError not in kind.__bases__]
every_error = pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
every_named_error = pytest.mark.parametrize("kind", NAMED, ids=lambda kind: kind.__name__)


def fields(template: str) -> set[str]:
    """Return the names of the context that a sentence uses."""
    return {re.split(r"[.\[]", name)[0] for _, name, _, _ in string.Formatter().parse(template) if name}


def numbers(template: str) -> set[str]:
    """Return the names of the context that a sentence formats as numbers."""
    return {name for _, name, spec, _ in string.Formatter().parse(template) if name and spec}


def sample(kind: type[StrongroomError]) -> StrongroomError:
    """Make an error with something for everything that its sentences name."""
    numeric = numbers(kind.message) | numbers(kind.hint)
    return kind(
        **{name: 7 if name in numeric else "thing" for name in fields(kind.message) | fields(kind.hint)}
    )


def test_codes_are_unique() -> None:
    """No two errors share a code: it is what people search for."""
    shared = {code: count for code, count in Counter(kind.code for kind in TREE).items() if count > 1}
    assert {} == shared


def test_all_families_are_drawn_in_the_docstring() -> None:
    """The tree at the top of the module shows each family, with a range of its own."""
    families = {kind.__name__ for kind in TREE if StrongroomError in kind.__bases__}
    assert families == set(DRAWN)
    assert len(DRAWN) == len(set(DRAWN.values()))


@every_error
def test_a_code_is_in_the_range_of_its_family(kind: type[StrongroomError]) -> None:
    """An error belongs to exactly one family, and its number says which."""
    families = [DRAWN[base.__name__] for base in kind.__mro__ if base.__name__ in DRAWN]
    assert families == [kind.code[:5]]
    assert re.fullmatch(r"SR-\d{4}", kind.code)


@every_named_error
def test_an_error_has_words_of_its_own(kind: type[StrongroomError]) -> None:
    """Code, message, hint and docstring are each error's own, or come from one that is no family."""
    for name in ("code", "message", "hint"):
        assert name in vars(kind) or any(name in vars(base) for base in kind.__mro__[1:] if base in NAMED)
    assert kind.__doc__


@every_error
def test_message_and_hint_are_sentences(kind: type[StrongroomError]) -> None:
    """Both start with a capital or a name, and end with a full stop or what another program said."""
    beginning = r"[A-Z{`]|\w+[._]\w+"
    assert re.match(beginning, kind.message)
    assert re.match(beginning, kind.hint)
    assert re.search(r"(\.|\{\w+\}[])]?)$", kind.message)
    assert re.search(r"(\.|\{\w+\})$", kind.hint)


@every_error
def test_a_hint_needs_no_more_than_letters_and_digits_as_context(kind: type[StrongroomError]) -> None:
    """The context is named by plain words, so that it can be given as keyword arguments."""
    assert all(name.isidentifier() for name in fields(kind.message) | fields(kind.hint))


@every_error
def test_an_error_renders_with_its_context(kind: type[StrongroomError]) -> None:
    """With everything that its sentences name, nothing of the template stays visible."""
    error = sample(kind)
    shown = f"{error} {error.render()} {error.advice()}"
    assert kind.message.format(**error.context) == error.render() == str(error)
    assert kind.hint.format(**error.context) == error.advice()
    assert not re.search(r"\{\w+(![rsa])?(:[^}]*)?\}", shown)


@every_error
def test_an_error_survives_the_way_to_another_process(kind: type[StrongroomError]) -> None:
    """Pickling keeps type, sentence and context, as child processes and Prefect need it."""
    error = sample(kind)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  (made in the line above)
    assert (kind, str(error), error.context) == (type(copy), str(copy), copy.context)


def test_an_error_without_its_context_still_speaks() -> None:
    """A forgotten context shows the template: an error never hides behind a KeyError."""
    assert UnknownBackup.message == str(UnknownBackup())


def test_the_document_of_an_error_is_ready_for_json() -> None:
    """Numbers and truths stay what they are, everything else becomes text."""
    expected = {
        "code": "SR-0101",
        "message": "There is no backup 'x' in the repository.",
        "hint": UnknownBackup.hint,
        "transient": False,
        "context": {"backup": "x", "count": 3, "path": "('a',)"},
    }
    assert expected == UnknownBackup(backup="x", count=3, path=("a",)).document()


def calls_without_context(path: Path) -> Iterator[str]:
    """Yield the places of a module that make an error and leave out a word which its sentences use."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        kind = getattr(strongroom.errors, node.func.id, None)
        given = {keyword.arg for keyword in node.keywords}
        if kind in TREE and None not in given:  # None is a `**context`, whose words only show at run time.
            left_out = (fields(kind.message) | fields(kind.hint)) - given
            if left_out:
                yield f"{path.name}:{node.lineno}: {node.func.id} without {', '.join(sorted(left_out))}"


def test_whoever_makes_an_error_gives_its_context() -> None:
    """No sentence reaches a person with a placeholder in it."""
    root = Path(strongroom.errors.__file__).parent.parent
    packages = ("strongroom", "blocks", "tasks", "flows", "deployments")
    modules = [path for package in packages for path in (root / package).rglob("*.py")]
    assert [] == [place for path in modules for place in calls_without_context(path)]
