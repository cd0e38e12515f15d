"""The contract suite: what every store promises, tried on a real one.

It ships with the program, because it is also a preflight: a user's own bucket, through that user's own
gateway, either keeps these promises or cannot hold a repository. Everything happens below a scratch prefix
and is deleted in the end. Example:

    findings = run_contract(store, "scratch", os.urandom)
    broken = [finding for finding in findings if not finding.held]
"""

import itertools
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256 as sha256_of
from typing import TypeVar

from strongroom.errors import (
    BadObjectName,
    BadRange,
    ObjectConflict,
    ObjectDamaged,
    ObjectMissing,
    StrongroomError,
)
from strongroom.stores.names import LONGEST_NAME
from strongroom.stores.protocol import Store

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class ContractFinding:
    """What came of one rule: whether the store held it, and if not, what it did instead."""

    rule: str
    held: bool
    expected: str = ""
    observed: str = ""


class _Broken(Exception):
    """A store did something else than the rule says."""

    def __init__(self, expected: str, observed: str) -> None:
        super().__init__(expected, observed)
        self.expected = expected
        self.observed = observed


@dataclass(frozen=True)
class _Bench:
    """One rule's place to work: a prefix of its own on the store under test."""

    store: Store
    prefix: str
    random: Callable[[int], bytes]
    many: int
    large_bytes: int
    racers: int
    touched: set[str] = field(default_factory=set)

    def name(self, suffix: str) -> str:
        """Name an object of this rule; it is deleted in the end."""
        name = f"{self.prefix}/{suffix}"
        self.touched.add(name)
        return name

    def put(self, name: str, data: bytes | bytearray | memoryview) -> None:
        """Store bytes with their right SHA-256."""
        self.store.put(name, data, sha256_of(data).hexdigest())

    def names(self, prefix: str) -> list[str]:
        """List the names below a prefix."""
        return [found.name for found in self.store.list(prefix)]

    def at_once(self, work: Callable[[Item], object], items: Iterable[Item]) -> list[object]:
        """Do something for each item in racing threads and return the results in order."""
        with ThreadPoolExecutor(self.racers) as pool:
            return list(pool.map(work, items))


def run_contract(
    store: Store,
    scratch_prefix: str,
    random: Callable[[int], bytes],
    *,
    many: int = 1200,
    large_bytes: int = 8 << 20,
    racers: int = 8,
) -> list[ContractFinding]:
    """Try every rule on `store` below `scratch_prefix`; return one finding for each.

    `many` small objects are listed (more than one page of any service), `large_bytes` is the size of the
    large object, `racers` the number of threads that race.
    """
    findings = []
    for number, (rule, trial) in enumerate(RULES):
        prefix = f"{scratch_prefix}/{number:02d}-{random(4).hex()}"
        bench = _Bench(store, prefix, random, many, large_bytes, racers)
        findings.append(_try(rule, trial, bench))
    return findings


def _try(rule: str, trial: Callable[[_Bench], None], bench: _Bench) -> ContractFinding:
    try:
        try:
            trial(bench)
        finally:
            bench.at_once(bench.store.delete, bench.touched)
        _equal("nothing is left after deleting", [], bench.names(bench.prefix))
    except _Broken as broken:
        return ContractFinding(rule, held=False, expected=broken.expected, observed=broken.observed)
    except StrongroomError as error:
        return ContractFinding(rule, held=False, expected="no error", observed=f"{error.code}: {error}")
    except Exception as error:  # noqa: BLE001 (an error outside the tree breaks the contract too)
        return ContractFinding(rule, held=False, expected="coded errors only", observed=repr(error))
    return ContractFinding(rule, held=True)


def _equal(what: str, expected: object, observed: object) -> None:
    if expected != observed:
        raise _Broken(f"{what}: {_shortened(expected)}", _shortened(observed))


def _refused(what: str, error: type[StrongroomError], call: Callable[..., object], *args: object) -> None:
    try:
        result = call(*args)
    except error:
        return
    except StrongroomError as other:
        raise _Broken(f"{what}: {error.__name__}", f"{type(other).__name__}: {other}") from other
    raise _Broken(f"{what}: {error.__name__}", f"no error, but {_shortened(result)}")


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:100]} … {text[-60:]} ({len(text)} characters)"


# ---------------------------------------------------------------- the rules


def _round_trip(bench: _Bench) -> None:
    name, data = bench.name("folder/object"), bench.random(1000)
    bench.put(name, data)
    _equal("the bytes", data, bench.store.get(name))
    described = bench.store.stat(name)
    _equal("name and size", (name, 1000), (described.name, described.size))
    _equal("listed", [(name, 1000)], [(found.name, found.size) for found in bench.store.list(bench.prefix)])
    bench.store.delete(name)
    _refused("get after delete", ObjectMissing, bench.store.get, name)
    _equal("listed after delete", [], bench.names(bench.prefix))
    bench.put(name, b"new")
    _equal("a new object of a deleted name", b"new", bench.store.get(name))


def _empty_object(bench: _Bench) -> None:
    name = bench.name("empty")
    bench.put(name, b"")
    _equal("the bytes", b"", bench.store.get(name))
    _equal("the size", 0, bench.store.stat(name).size)
    _equal("a range", b"", bench.store.get(name, 0, 10))


def _large_object(bench: _Bench) -> None:
    name, data = bench.name("large"), bench.random(bench.large_bytes)
    bench.put(name, data)
    _equal("the bytes' SHA-256", sha256_of(data).hexdigest(), sha256_of(bench.store.get(name)).hexdigest())
    start = bench.large_bytes // 3
    _equal("a range", data[start : start + 70_000], bench.store.get(name, start, 70_000))


def _buffers(bench: _Bench) -> None:
    data = bench.random(5000)
    for kind, buffer in (("bytearray", bytearray(data)), ("memoryview", memoryview(b"x" + data)[1:])):
        name = bench.name(kind)
        bench.put(name, buffer)
        _equal(f"the bytes of a {kind}", data, bench.store.get(name))


def _same_again(bench: _Bench) -> None:
    name, data = bench.name("same"), bench.random(3000)
    for _ in range(3):
        bench.put(name, data)
    bench.at_once(lambda _: bench.put(name, data), range(bench.racers))
    fresh = bench.name("fresh")
    bench.at_once(lambda _: bench.put(fresh, data), range(bench.racers))
    _equal("the bytes", [data, data], [bench.store.get(name), bench.store.get(fresh)])


def _conflict(bench: _Bench) -> None:
    name, data = bench.name("taken"), bench.random(500)
    bench.put(name, data)
    for what, other in (("as long", bench.random(500)), ("shorter", data[:-1]), ("empty", b"")):
        _refused(f"other bytes, {what}", ObjectConflict, bench.put, name, other)
    _equal("the old bytes", data, bench.store.get(name))


def _wrong_digest(bench: _Bench) -> None:
    name, data = bench.name("wrong"), bench.random(500)
    wrong = sha256_of(data + b"!").hexdigest()
    _refused("a wrong SHA-256", ObjectDamaged, bench.store.put, name, data, wrong)
    _refused("stat after the refusal", ObjectMissing, bench.store.stat, name)
    _equal("listed after the refusal", [], bench.names(bench.prefix))
    bench.put(name, data)
    _refused("a wrong SHA-256 of the same", ObjectDamaged, bench.store.put, name, data, wrong)
    _equal("the old bytes", data, bench.store.get(name))


def _ranges(bench: _Bench) -> None:
    name, data = bench.name("ranged"), bench.random(100)
    bench.put(name, data)
    cases = [
        (0, 3),
        (2, None),
        (2, 0),
        (99, 1),
        (99, 10),
        (100, None),
        (100, 5),
        (105, 3),
        (0, 100),
        (0, 1000),
    ]
    for start, length in cases:
        expected = data[start:] if length is None else data[start : start + length]
        _equal(f"range {start}+{length}", expected, bench.store.get(name, start, length))
    _refused("a negative start", BadRange, bench.store.get, name, -1)
    _refused("a negative length", BadRange, bench.store.get, name, 0, -1)


def _list_order(bench: _Bench) -> None:
    suffixes = ["a-b", "a.b", "a/b", "a/c/d", "a0", "a_b", "ab", "b/a", "b0/a", "z"]
    for suffix in reversed(suffixes):
        bench.put(bench.name(suffix), b"x")
    every = [f"{bench.prefix}/{suffix}" for suffix in suffixes]
    _equal("bytewise order", every, bench.names(bench.prefix + "/"))
    for prefix in ("a", "a/", "a/c", "b", "b0/", "z", "a/c/d", "nothing", "zz/"):
        start = f"{bench.prefix}/{prefix}"
        expected = [name for name in every if name.startswith(start)]
        _equal(f"prefix {prefix}", expected, bench.names(start))


def _many_objects(bench: _Bench) -> None:
    names = [bench.name(f"{number % 7}/{number:06d}") for number in range(bench.many)]
    bench.at_once(lambda name: bench.put(name, name.encode()), names)
    _equal("all of them, in order", sorted(names), bench.names(bench.prefix))
    _equal("one folder", sorted(n for n in names if "/3/" in n), bench.names(f"{bench.prefix}/3/"))
    half = len(names) // 2
    bench.at_once(bench.store.delete, names[:half])
    _equal("what is left", sorted(names[half:]), bench.names(bench.prefix))
    _equal("the first only", min(names[half:], default=None), _first(bench))


def _first(bench: _Bench) -> str | None:
    return next((found.name for found in itertools.islice(bench.store.list(bench.prefix), 1)), None)


def _create_once(bench: _Bench) -> None:
    name, data = bench.name("lease"), bench.random(64)
    _equal("the first creator", True, bench.store.create(name, data))  # noqa: FBT003 (an expected value)
    _equal("the second creator", False, bench.store.create(name, b"other"))  # noqa: FBT003
    _equal("the same creator again", False, bench.store.create(name, data))  # noqa: FBT003
    _equal("the bytes", data, bench.store.get(name))
    _refused("a put of other bytes", ObjectConflict, bench.put, name, b"other")
    bench.put(name, data)
    bench.store.delete(name)
    _equal("a creator after delete", True, bench.store.create(name, b"other"))  # noqa: FBT003


def _create_race(bench: _Bench) -> None:
    for attempt in range(5):
        name = bench.name(f"race-{attempt}")
        offers = [bench.random(2000) for _ in range(bench.racers)]
        won = bench.at_once(partial(bench.store.create, name), offers)
        _equal("winners", 1, won.count(True))
        _equal("the winner's bytes", offers[won.index(True)], bench.store.get(name))


def _missing(bench: _Bench) -> None:
    bench.put(bench.name("folder/there"), b"x")
    for suffix in ("not-there", "folder", "folder/there-not", "folder/there/below"):
        name = f"{bench.prefix}/{suffix}"
        _refused(f"get of {suffix}", ObjectMissing, bench.store.get, name)
        _refused(f"range of {suffix}", ObjectMissing, bench.store.get, name, 1, 2)
        _refused(f"stat of {suffix}", ObjectMissing, bench.store.stat, name)


def _delete_missing(bench: _Bench) -> None:
    kept = bench.name("folder/kept")
    bench.put(kept, b"x")
    for suffix in ("not-there", "no-folder/not-there", "folder", "folder/kept/below"):
        bench.store.delete(f"{bench.prefix}/{suffix}")
    gone = bench.name("gone")
    bench.put(gone, b"x")
    bench.store.delete(gone)
    bench.store.delete(gone)
    _equal("what is left", [kept], bench.names(bench.prefix))


def _odd_names(bench: _Bench) -> None:
    longest = "n" * (LONGEST_NAME - len(bench.prefix) - 1)
    deep = "/".join("d" * 20)
    suffixes = [
        ".hidden",
        "...",
        "a..b",
        "-",
        "_",
        "--help",
        "x.tar.gz",
        "0",
        "con",
        "nul.txt",
        deep,
        longest,
    ]
    for suffix in suffixes:
        bench.put(bench.name(suffix), suffix.encode())
    for suffix in suffixes:
        _equal(f"the bytes of {suffix}", suffix.encode(), bench.store.get(f"{bench.prefix}/{suffix}"))
    _equal("listed", sorted(bench.touched), bench.names(bench.prefix))


def _bad_names(bench: _Bench) -> None:
    inside = [
        "../x",
        "a/../x",
        "./x",
        "a//b",
        "a/",
        "A",
        "a b",
        "ä",
        "a\0",
        "a\n",
        "a\\b",
        "~a",
        "%2e",
        "a" * 201,
    ]
    outside = ["", "/", "/etc/passwd", "..", ".", "../x", "~writing/x"]
    for name in [f"{bench.prefix}/{suffix}" for suffix in inside] + outside:
        _refused(f"put {name!r}", BadObjectName, bench.put, name, b"x")
        _refused(f"create {name!r}", BadObjectName, bench.store.create, name, b"x")
        _refused(f"get {name!r}", BadObjectName, bench.store.get, name)
        _refused(f"stat {name!r}", BadObjectName, bench.store.stat, name)
        _refused(f"delete {name!r}", BadObjectName, bench.store.delete, name)
    for prefix in ("../", "/", "a/../", "A", "a//"):
        _refused(f"list {prefix!r}", BadObjectName, bench.names, prefix)


RULES: tuple[tuple[str, Callable[[_Bench], None]], ...] = (
    ("what is put can be read, described, listed and deleted", _round_trip),
    ("an empty object is an object", _empty_object),
    ("a large object comes back whole and in ranges", _large_object),
    ("any buffer of bytes can be put", _buffers),
    ("putting the same bytes again is no error", _same_again),
    ("other bytes under a taken name are refused", _conflict),
    ("bytes that do not have the SHA-256 are refused", _wrong_digest),
    ("ranges are cut at the end of the object", _ranges),
    ("a list is in bytewise order and its prefix is text", _list_order),
    ("a list is complete beyond one page", _many_objects),
    ("create never replaces", _create_once),
    ("of racing creators exactly one wins", _create_race),
    ("what is not there is missing", _missing),
    ("deleting what is not there is no error", _delete_missing),
    ("every valid name can be used", _odd_names),
    ("no invalid name can be used", _bad_names),
)
"""The rules in the order in which they are tried: the promise, and the trial of it."""
