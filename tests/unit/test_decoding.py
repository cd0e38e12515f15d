"""Typed JSON in many threads: a type that all of them decode for the first time at once ends no process."""

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from strongroom.decoding import decode_as

ROOT = Path(__file__).resolve().parents[2]

# Threads take turns as often as they can, and meet at a type that nobody has decoded yet.
RACE = """
import sys, threading
import msgspec
from strongroom.decoding import decode_as
sys.setswitchinterval(1e-6)

def decode(kind):
    barrier.wait()
    for _ in range(20):
        assert decode_as(kind, data).inner[0].f39 == 1

fields = {f"f{n}": 1 for n in range(40)}
data = msgspec.json.encode({"inner": [fields], **fields})
for _ in range(40):
    inner = msgspec.defstruct("Inner", [(name, int) for name in fields])
    outer = msgspec.defstruct("Outer", [("inner", tuple[inner, ...]), *((name, int) for name in fields)])
    barrier = threading.Barrier(8)
    threads = [threading.Thread(target=decode, args=(outer,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print("whole")
"""


def test_threads_may_decode_a_type_for_the_first_time_at_once() -> None:
    """With msgspec.json.decode in its place nearly every run of this ends by a signal."""
    done = subprocess.run(
        [sys.executable, "-c", RACE], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert (0, "whole\n", "") == (done.returncode, done.stdout, done.stderr)


def test_what_is_not_of_the_type_is_refused() -> None:
    """As by msgspec itself, for text as for bytes, and each time."""
    for data in (b'["1"]', '["1"]'):
        with pytest.raises(msgspec.ValidationError):
            decode_as(list[int], data)
    assert [1] == decode_as(list[int], b"[1]")


def test_nothing_else_decodes_json_into_types() -> None:
    """Whoever does it past this function brings the race back, for all types that share a part with his."""
    typed = re.compile(r"json\.(decode\([^)]*\btype=|Decoder\()")
    found = {
        path.name
        for package in ("strongroom", "blocks", "tasks", "flows", "deployments")
        for path in (ROOT / package).rglob("*.py")
        if typed.search(path.read_text(encoding="utf-8"))
    }
    assert {"decoding.py"} == found
