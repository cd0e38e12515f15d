"""Private temporary folders for Unix sockets, whose paths the kernel limits to 107 bytes.

folder = new_socket_folder(for_others=False)
"""

import os
import tempfile
from pathlib import Path

from strongroom.postgres.programs import reachable_by_others

_PATH_LIMIT = 107
_LONGEST_BELOW = len("/sr-12345678/s/.s.PGSQL.65535")


def new_socket_folder(*, for_others: bool) -> Path:
    """Make a private folder for temporary files, below the system's folder for them or below /tmp.

    `for_others`: another user will be given the folder, and must be able to reach it.
    """
    parent = Path(tempfile.gettempdir()).resolve()
    too_long = len(os.fsencode(parent)) + _LONGEST_BELOW > _PATH_LIMIT
    if too_long or (for_others and not reachable_by_others(parent)):
        parent = Path("/tmp")  # noqa: S108 - mkdtemp makes a private folder in it
    return Path(tempfile.mkdtemp(prefix="sr-", dir=parent))
