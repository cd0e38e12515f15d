"""The trials of the store contract: what is done to a store to see whether it keeps each promise.

`strongroom.stores.contract` says which promise each of them is for, and runs them.
"""

import itertools
from collections.abc import Callable
from functools import partial
from hashlib import sha256 as sha256_of

from strongroom.errors import BadObjectName, BadRange, ObjectConflict, ObjectDamaged, ObjectMissing
from strongroom.stores.capabilities import Capabilities
from strongroom.stores.contract_bench import Bench, Broken, BytesInPieces, equal, refused
from strongroom.stores.data import PIECE_BYTES
from strongroom.stores.names import LONGEST_NAME


def _round_trip(bench: Bench) -> None:
    name, data = bench.name("folder/object"), bench.random(1000)
    bench.put(name, data)
    equal("the bytes", data, bench.store.get(name))
    described = bench.store.stat(name)
    equal("name and size", (name, 1000), (described.name, described.size))
    equal("listed", [(name, 1000)], [(found.name, found.size) for found in bench.store.list(bench.prefix)])
    bench.store.delete(name)
    refused("get after delete", ObjectMissing, bench.store.get, name)
    equal("listed after delete", [], bench.names(bench.prefix))
    bench.put(name, b"new")
    equal("a new object of a deleted name", b"new", bench.store.get(name))


def _empty_object(bench: Bench) -> None:
    name = bench.name("empty")
    bench.put(name, b"")
    equal("the bytes", b"", bench.store.get(name))
    equal("the size", 0, bench.store.stat(name).size)
    equal("a range", b"", bench.store.get(name, 0, 10))


def _large_object(bench: Bench) -> None:
    name, data = bench.name("large"), bench.random(bench.large_bytes)
    bench.put(name, data)
    equal("the bytes' SHA-256", sha256_of(data).hexdigest(), sha256_of(bench.store.get(name)).hexdigest())


def _large_ranges(bench: Bench) -> None:
    name, data = bench.name("large"), bench.random(bench.large_bytes)
    bench.put(name, BytesInPieces(data))
    size = len(data)
    border = min(PIECE_BYTES, size)
    starts = {
        0,
        1,
        size // 3,
        size // 2,
        border - 1,
        max(0, border - 35_000),
        max(0, size - 70_000),
        size - 1,
    }
    for start in sorted(starts):
        expected = data[start : start + 70_000]
        equal(f"range {start}+70000 of {size}", expected, bench.store.get(name, start, 70_000))
    rest = size // 2 + 1
    equal(f"from {rest} of {size}", data[rest:], bench.store.get(name, rest))


def _in_pieces(bench: Bench) -> None:
    for size in (0, 1, 70_001, bench.large_bytes + 1):
        name, data = bench.name(f"pieces-{size}"), bench.random(size)
        bench.put(name, BytesInPieces(data))
        equal(f"the size of {size} bytes", size, bench.store.stat(name).size)
        equal(f"the {size} bytes", sha256_of(data).hexdigest(), sha256_of(bench.store.get(name)).hexdigest())
        bench.put(name, BytesInPieces(data))
        other = BytesInPieces(data[:-1] + b"?!")
        refused("other bytes in pieces", ObjectConflict, bench.put, name, other)
        equal("the old size", size, bench.store.stat(name).size)


def _wrong_digest_in_pieces(bench: Bench) -> None:
    for size in (500, bench.large_bytes + 1):
        name, data = bench.name(f"wrong-{size}"), bench.random(size)
        wrong = sha256_of(data + b"!").hexdigest()
        pieces = BytesInPieces(data)
        refused(f"a wrong SHA-256 of {size} bytes", ObjectDamaged, bench.store.put, name, pieces, wrong)
        refused("stat after the refusal", ObjectMissing, bench.store.stat, name)
        equal("listed after the refusal", [], bench.names(name))
        bench.put(name, pieces)
        refused("a wrong SHA-256 of the same", ObjectDamaged, bench.store.put, name, pieces, wrong)
        equal("the old size", size, bench.store.stat(name).size)


def _list_at_once(bench: Bench) -> None:
    there: set[str] = set()
    for number in range(3 * bench.rounds):
        name = bench.name(f"{number % 3}/{number:03d}")
        bench.put(name, b"x")
        there.add(name)
        equal("listed right after put", sorted(there), bench.names(bench.prefix))
        if number % 2:
            gone = min(there)
            bench.store.delete(gone)
            there.remove(gone)
            equal("listed right after delete", sorted(there), bench.names(bench.prefix))
            refused("stat right after delete", ObjectMissing, bench.store.stat, gone)


def _capabilities(bench: Bench) -> None:
    told = bench.store.capabilities
    equal("capabilities", Capabilities.__name__, type(told).__name__)
    equal("the same each time", told, bench.store.capabilities)
    if told.largest_object is not None and told.largest_object < bench.large_bytes:
        raise Broken(f"objects of {bench.large_bytes} bytes", f"{told.largest_object} at most")


def _buffers(bench: Bench) -> None:
    data = bench.random(5000)
    for kind, buffer in (("bytearray", bytearray(data)), ("memoryview", memoryview(b"x" + data)[1:])):
        name = bench.name(kind)
        bench.put(name, buffer)
        equal(f"the bytes of a {kind}", data, bench.store.get(name))


def _same_again(bench: Bench) -> None:
    name, data = bench.name("same"), bench.random(3000)
    for _ in range(3):
        bench.put(name, data)
    bench.at_once(lambda _: bench.put(name, data), range(bench.racers))
    fresh = bench.name("fresh")
    bench.at_once(lambda _: bench.put(fresh, data), range(bench.racers))
    equal("the bytes", [data, data], [bench.store.get(name), bench.store.get(fresh)])


def _conflict(bench: Bench) -> None:
    name, data = bench.name("taken"), bench.random(500)
    bench.put(name, data)
    for what, other in (("as long", bench.random(500)), ("shorter", data[:-1]), ("empty", b"")):
        refused(f"other bytes, {what}", ObjectConflict, bench.put, name, other)
    equal("the old bytes", data, bench.store.get(name))


def _wrong_digest(bench: Bench) -> None:
    name, data = bench.name("wrong"), bench.random(500)
    wrong = sha256_of(data + b"!").hexdigest()
    refused("a wrong SHA-256", ObjectDamaged, bench.store.put, name, data, wrong)
    refused("stat after the refusal", ObjectMissing, bench.store.stat, name)
    equal("listed after the refusal", [], bench.names(bench.prefix))
    bench.put(name, data)
    refused("a wrong SHA-256 of the same", ObjectDamaged, bench.store.put, name, data, wrong)
    equal("the old bytes", data, bench.store.get(name))


def _ranges(bench: Bench) -> None:
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
        equal(f"range {start}+{length}", expected, bench.store.get(name, start, length))
    refused("a negative start", BadRange, bench.store.get, name, -1)
    refused("a negative length", BadRange, bench.store.get, name, 0, -1)


def _list_order(bench: Bench) -> None:
    suffixes = ["a-b", "a.b", "a/b", "a/c/d", "a0", "a_b", "ab", "b/a", "b0/a", "z"]
    for suffix in reversed(suffixes):
        bench.put(bench.name(suffix), b"x")
    every = [f"{bench.prefix}/{suffix}" for suffix in suffixes]
    equal("bytewise order", every, bench.names(bench.prefix + "/"))
    for prefix in ("a", "a/", "a/c", "b", "b0/", "z", "a/c/d", "nothing", "zz/"):
        start = f"{bench.prefix}/{prefix}"
        expected = [name for name in every if name.startswith(start)]
        equal(f"prefix {prefix}", expected, bench.names(start))


def _many_objects(bench: Bench) -> None:
    names = [bench.name(f"{number % 7}/{number:06d}") for number in range(bench.many)]
    bench.at_once(lambda name: bench.put(name, name.encode()), names)
    equal("all of them, in order", sorted(names), bench.names(bench.prefix))
    equal("one folder", sorted(n for n in names if "/3/" in n), bench.names(f"{bench.prefix}/3/"))
    half = len(names) // 2
    bench.at_once(bench.store.delete, names[:half])
    equal("what is left", sorted(names[half:]), bench.names(bench.prefix))
    equal("the first only", min(names[half:], default=None), _first(bench))


def _first(bench: Bench) -> str | None:
    return next((found.name for found in itertools.islice(bench.store.list(bench.prefix), 1)), None)


def _create_once(bench: Bench) -> None:
    name, data = bench.name("lease"), bench.random(64)
    equal("the first creator", True, bench.store.create(name, data))  # noqa: FBT003 (an expected value)
    equal("the second creator", False, bench.store.create(name, b"other"))  # noqa: FBT003
    equal("the same creator again", False, bench.store.create(name, data))  # noqa: FBT003
    equal("the bytes", data, bench.store.get(name))
    refused("a put of other bytes", ObjectConflict, bench.put, name, b"other")
    bench.put(name, data)
    bench.store.delete(name)
    equal("a creator after delete", True, bench.store.create(name, b"other"))  # noqa: FBT003


def _create_race(bench: Bench) -> None:
    def contend(name: str, offer: bytes) -> bool:
        bench.pause()
        return bench.store.create(name, offer)

    _race(bench, "race", contend)


def _put_race(bench: Bench) -> None:
    def contend(name: str, offer: bytes) -> bool:
        bench.pause()
        try:
            bench.put(name, offer)
        except ObjectConflict:
            return False
        return True

    _race(bench, "puts", contend)


def _race(bench: Bench, kind: str, contend: Callable[[str, bytes], bool]) -> None:
    """Let all racers want one name, many times: one wins, and its bytes stay."""
    for attempt in range(bench.rounds):
        name = bench.name(f"{kind}-{attempt}")
        offers = [bench.random(2000) for _ in range(bench.racers)]
        won = bench.at_once(partial(contend, name), offers)
        equal("winners", 1, won.count(True))
        equal("the winner's bytes", offers[won.index(True)], bench.store.get(name))


def _missing(bench: Bench) -> None:
    bench.put(bench.name("folder/there"), b"x")
    for suffix in ("not-there", "folder", "folder/there-not", "folder/there/below"):
        name = f"{bench.prefix}/{suffix}"
        refused(f"get of {suffix}", ObjectMissing, bench.store.get, name)
        refused(f"range of {suffix}", ObjectMissing, bench.store.get, name, 1, 2)
        refused(f"stat of {suffix}", ObjectMissing, bench.store.stat, name)


def _delete_missing(bench: Bench) -> None:
    kept = bench.name("folder/kept")
    bench.put(kept, b"x")
    for suffix in ("not-there", "no-folder/not-there", "folder", "folder/kept/below"):
        bench.store.delete(f"{bench.prefix}/{suffix}")
    gone = bench.name("gone")
    bench.put(gone, b"x")
    bench.store.delete(gone)
    bench.store.delete(gone)
    equal("what is left", [kept], bench.names(bench.prefix))


def _odd_names(bench: Bench) -> None:
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
        equal(f"the bytes of {suffix}", suffix.encode(), bench.store.get(f"{bench.prefix}/{suffix}"))
    equal("listed", sorted(bench.touched), bench.names(bench.prefix))


def _bad_names(bench: Bench) -> None:
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
        refused(f"put {name!r}", BadObjectName, bench.put, name, b"x")
        refused(f"create {name!r}", BadObjectName, bench.store.create, name, b"x")
        refused(f"get {name!r}", BadObjectName, bench.store.get, name)
        refused(f"stat {name!r}", BadObjectName, bench.store.stat, name)
        refused(f"delete {name!r}", BadObjectName, bench.store.delete, name)
    for prefix in ("../", "/", "a/../", "A", "a//"):
        refused(f"list {prefix!r}", BadObjectName, bench.names, prefix)


RULES: tuple[tuple[str, Callable[[Bench], None]], ...] = (
    ("what is put can be read, described, listed and deleted", _round_trip),
    ("an empty object is an object", _empty_object),
    ("a large object comes back whole", _large_object),
    ("a range of a large object is that range", _large_ranges),
    ("an object that comes in pieces is stored whole", _in_pieces),
    ("pieces that do not have the SHA-256 leave nothing", _wrong_digest_in_pieces),
    ("any buffer of bytes can be put", _buffers),
    ("putting the same bytes again is no error", _same_again),
    ("other bytes under a taken name are refused", _conflict),
    ("bytes that do not have the SHA-256 are refused", _wrong_digest),
    ("ranges are cut at the end of the object", _ranges),
    ("a list is in bytewise order and its prefix is text", _list_order),
    ("a list is complete beyond one page", _many_objects),
    ("a list is right as soon as something was put or deleted", _list_at_once),
    ("create never replaces", _create_once),
    ("of racing creators exactly one wins", _create_race),
    ("of racing writers of other bytes exactly one stays", _put_race),
    ("what is not there is missing", _missing),
    ("deleting what is not there is no error", _delete_missing),
    ("every valid name can be used", _odd_names),
    ("no invalid name can be used", _bad_names),
    ("what the medium can do is told", _capabilities),
)
"""The rules in the order in which they are tried: the promise, and the trial of it."""
