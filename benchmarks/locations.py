"""Stores and copying side by side with plain clients, in one run, against servers on this machine.

    python -m benchmarks.locations [--packs 24] [--server ministack] [--json]

Each pack of 16 MiB is put and read by the plain client and by a location as the engine opens it (S3 or Google,
logged, tried again), in turns and in changing order, so that drift hits both; each has a process of its own and
hashes the pack first, as a pack's name demands. Then a repository in a folder is copied to two buckets by the
engine's own operations, each in its child process: once as many packs, once as one large one.

Wall and CPU of moving are medians of one pack; the ratio of wall times is the median of the pairs'. Beyond a bound
the exit status is 1: 15 % of wall time above the plain S3 client, one read of each byte for all locations, 300 MiB
in any process of ours. Google's service is our own emulator in another process, so nothing is promised there.

`ministack` emulates AWS: it verifies checksums, as AWS does, and limits least of the servers at hand. `radosgw` is
Ceph, which verifies none: there our store reads back what it wrote, no plain client does, and the bound is missed.
Its memory is 1 GiB, and deleting frees none of it: 24 packs are what it holds.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.copying import copy_to_two
from benchmarks.moving import PACK_BYTES, Place, move_packs, run_google
from tests.servers.s3 import S3Server, run_ministack, run_radosgw

MAX_RATIO = 1.15
MAX_BYTES = 300 << 20
LARGE_BYTES = 200 << 20

_SERVERS = {"ministack": run_ministack, "radosgw": run_radosgw}
_MEBIBYTE = 1 << 20

Figures = dict[str, dict[str, float]]


def measure(server_name: str, folder: Path, packs: int) -> tuple[Figures, Figures]:
    """Measure everything, each part on a fresh server; return the figures of moving and those of copying."""
    run = _SERVERS[server_name]
    moved: Figures = {}
    _say(f"moving, {server_name}")
    with run(folder / "moving") as server:
        for call, figures in move_packs(_place(server, "room"), packs).items():
            moved[f"S3 {call}"] = figures
    _say("moving, Google")
    with run_google("room") as google:
        for call, figures in move_packs(google, packs).items():
            moved[f"Google {call}"] = figures
    copied: Figures = {}
    for name, count, size in (("many packs", packs, PACK_BYTES), ("one large pack", 1, LARGE_BYTES)):
        _say(f"copying, {name}")
        part = folder / name.replace(" ", "-")
        with run(part / "server") as server:
            copied[name] = copy_to_two(part, [_place(server, "edge"), _place(server, "archive")], count, size)
    return moved, copied


def _place(server: S3Server, bucket: str) -> Place:
    return Place("s3", server.endpoint, server.make_bucket(bucket), server.access_key, server.secret_key)


def within_bounds(moved: Figures, copied: Figures) -> bool:
    """Tell whether all that is promised was kept."""
    return (
        all(moved[name]["ratio"] <= MAX_RATIO for name in ("S3 put", "S3 get"))
        and all(one["peak_rss"] <= MAX_BYTES for one in (*moved.values(), *copied.values()))
        and all(one["bytes_read"] == one["bytes"] for one in copied.values())
    )


def text(moved: Figures, copied: Figures) -> str:
    """Return the figures as two tables."""
    lines = [
        f"{'':14}{'plain ms':>10}{'ours ms':>9}{'ratio':>7}{'plain CPU ms':>14}{'ours':>7}{'ratio':>7}{'peak MiB':>10}"
    ]
    for name, f in moved.items():
        lines.append(
            f"{name:14}{f['plain_wall'] * 1000:10.1f}{f['wall'] * 1000:9.1f}{f['ratio']:7.2f}"
            f"{f['plain_cpu'] * 1000:14.1f}{f['cpu'] * 1000:7.1f}{f['cpu_ratio']:7.2f}"
            f"{f['peak_rss'] / _MEBIBYTE:10.0f}"
        )
    lines += ["", f"{'':16}{'MiB':>7}{'read':>8}{'copied':>8}{'wall s':>8}{'CPU s':>8}{'peak MiB':>10}"]
    for name, f in copied.items():
        lines.append(
            f"{name:16}{f['bytes'] / _MEBIBYTE:7.0f}{f['bytes_read'] / f['bytes']:7.3f}x"
            f"{f['bytes_copied'] / f['bytes']:7.3f}x{f['wall']:8.2f}{f['cpu']:8.2f}"
            f"{f['peak_rss'] / _MEBIBYTE:10.0f}"
        )
    return "\n".join(lines)


def main() -> int:
    """Run the benchmark and print it."""
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.locations", description=__doc__)
    arguments.add_argument("--packs", type=int, default=24)
    arguments.add_argument("--server", choices=_SERVERS, default="ministack")
    arguments.add_argument("--json", action="store_true")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="strongroom-benchmark-") as folder:
        moved, copied = measure(given.server, Path(folder), given.packs)
    kept = within_bounds(moved, copied)
    figures = {**moved, **copied, "within_bounds": kept}
    print(json.dumps(figures, indent=1) if given.json else text(moved, copied))
    return 0 if kept else 1


def _say(what: str) -> None:
    print(f"… {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
