"""The long runs of this room are left out unless they are asked for."""

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes minutes by nature unless `-m` speaks of it."""
    if "endurance" in str(config.getoption("markexpr")):
        return
    left_out = [item for item in items if item.get_closest_marker("endurance")]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)
