"""Reading many small objects: in order, several at a time over a network only, and no further than asked."""

import threading

import pytest

from strongroom.errors import ObjectMissing
from strongroom.repository.read_ahead import read_ahead, width_for
from strongroom.stores.capabilities import Capabilities
from strongroom.stores.memory import MemoryStore
from strongroom.stores.nearest import NearestStore

NAMES = [f"manifests/{number:02d}" for number in range(40)]


class Remote(MemoryStore):
    """A store that is far away."""

    @property
    def capabilities(self) -> Capabilities:
        """Say so."""
        return Capabilities(is_remote=True)


@pytest.mark.parametrize("width", [1, 8])
def test_results_come_in_order(width: int) -> None:
    """Whatever is ready first."""
    found = [(name, result()) for name, result in read_ahead(NAMES, str.upper, width)]
    assert [(name, name.upper()) for name in NAMES] == found


@pytest.mark.parametrize("width", [1, 8])
def test_an_error_is_raised_where_its_result_is_asked_for(width: int) -> None:
    """One object that cannot be read hides no other."""

    def read(name: str) -> str:
        if name == NAMES[5]:
            raise ObjectMissing(name=name, store="somewhere")
        return name

    found = []
    for name, result in read_ahead(NAMES, read, width):
        if name == NAMES[5]:
            with pytest.raises(ObjectMissing):
                result()
        else:
            found.append(result())
    assert [name for name in NAMES if name != NAMES[5]] == found


def test_no_more_than_the_width_is_under_way() -> None:
    """Memory is bounded, and whoever stops asking stops the reading."""
    lock, running, most, begun = threading.Lock(), 0, 0, 0

    def read(name: str) -> str:
        nonlocal running, most, begun
        with lock:
            running, begun = running + 1, begun + 1
            most = max(most, running)
        with lock:
            running -= 1
        return name

    for name, _ in read_ahead(NAMES, read, 4):
        if name == NAMES[9]:
            break
    assert most <= 4
    assert begun <= 10 + 4


def test_only_a_network_is_read_ahead() -> None:
    """A folder has nothing to wait for; one location far away makes reading ahead pay."""
    assert width_for(MemoryStore()) == 1
    assert width_for(NearestStore([MemoryStore(), MemoryStore()])) == 1
    assert width_for(NearestStore([MemoryStore(), Remote()])) > 1
