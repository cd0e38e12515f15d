"""Reading many small objects: one after the other from folders, several at a time over a network.

for name, result in read_ahead(names, repository.read_manifest, width_for(repository.store)):
    manifest = result()             # returns what was read, or raises what reading raised
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import TypeVar

from strongroom.stores.nearest import NearestStore
from strongroom.stores.protocol import Store

Value = TypeVar("Value")

_WIDTH = 8
"""How many requests are under way at once: most of the time of each is waiting."""


def width_for(store: Store) -> int:
    """Return how many reads at a time pay: one for a folder."""
    stores = store.stores if isinstance(store, NearestStore) else (store,)
    return _WIDTH if any(one.capabilities.is_remote for one in stores) else 1


def read_ahead(
    names: Iterable[str], read: Callable[[str], Value], width: int
) -> Iterator[tuple[str, Callable[[], Value]]]:
    """Yield each name, in order, with what gives its result; at most `width` results are in memory."""
    if width <= 1:
        yield from ((name, partial(read, name)) for name in names)
        return
    coming = iter(names)
    with ThreadPoolExecutor(width, thread_name_prefix="read") as pool:
        under_way = deque((name, pool.submit(read, name)) for name in islice(coming, width))
        try:
            while under_way:
                name, future = under_way.popleft()
                yield name, future.result
                under_way.extend((one, pool.submit(read, one)) for one in islice(coming, 1))
        finally:
            for _, future in under_way:
                future.cancel()
