"""What a piece of work cost: wall time, CPU of all its processes, and the memory they held together."""

import os
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_SAMPLE_SECONDS = 0.02
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Cost:
    """Seconds and bytes; `peak_rss` is the largest single process, `peak_rss_sum` all of them at one time."""

    wall: float = 0.0
    cpu: float = 0.0
    peak_rss: int = 0
    peak_rss_sum: int = 0


def high_water(pid: int) -> int:
    """Return the most memory that a process has held since it started its program, in bytes; 0 once it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(found[0]) * 1024 if found else 0


@contextmanager
def measured() -> Iterator[Cost]:
    """Measure the block and the processes it starts; a database server's processes are not counted."""
    cost = Cost()
    stop = threading.Event()
    sampler = threading.Thread(target=_sample, args=(cost, stop))
    before = _cpu()
    started = time.perf_counter()
    sampler.start()
    try:
        yield cost
    finally:
        cost.wall = time.perf_counter() - started
        cost.cpu = _cpu() - before
        stop.set()
        sampler.join()


def _cpu() -> float:
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, kinds))


def _sample(cost: Cost, stop: threading.Event) -> None:
    """Look at all descendants of this process again and again. This process itself is not counted."""
    while not stop.wait(_SAMPLE_SECONDS):
        processes = list(_descendants(os.getpid()))
        sizes = [_rss(pid) for pid in processes]
        # The kernel remembers what happened between two looks.
        cost.peak_rss = max([cost.peak_rss, *map(high_water, processes)])
        cost.peak_rss_sum = max(cost.peak_rss_sum, sum(sizes))


def _descendants(root: int) -> Iterator[int]:
    for task in Path(f"/proc/{root}/task").glob("*/children"):
        try:
            children = [int(pid) for pid in task.read_text().split()]
        except OSError:
            continue
        for pid in children:
            if not _is_server(pid):
                yield pid
                yield from _descendants(pid)


def _is_server(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == "postgres"
    except OSError:
        return False


def _rss(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0
