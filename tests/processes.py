"""Looking for processes of a server: by their working folder, which is the data directory for all of them.

assert left_after(data_directory.parent) == []
"""

import time
from pathlib import Path


def working_in(folder: Path) -> list[int]:
    """Return the ids of the processes whose working folder is `folder` or below it, even if it is deleted."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                where = (entry / "cwd").readlink()
            except OSError:
                continue
            if str(where).startswith(str(folder)):
                found.append(int(entry.name))
    return found


def left_after(folder: Path, seconds: float = 10.0) -> list[int | Path]:
    """Return what is left after at most `seconds`: processes that work in `folder`, and the folder itself."""
    limit = time.monotonic() + seconds
    while True:
        left: list[int | Path] = [*working_in(folder)]
        if folder.exists():
            left.append(folder)
        if not left or time.monotonic() > limit:
            return left
        time.sleep(0.05)
