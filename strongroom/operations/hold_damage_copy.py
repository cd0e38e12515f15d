"""Hold a copy of one backup for a mutation drill, in a temporary folder that is gone when it is released.

The repository itself is only read. The folder holds what the repository holds, sealed as it is there, and no key.
"""

import tempfile
import time
from pathlib import Path

from strongroom.config import Settings
from strongroom.drill.copying import copy_reached, make_other_keys
from strongroom.operations.context import Context, Progress
from strongroom.operations.drill_messages import DamageCopyReport, HoldDamageCopy
from strongroom.repository.opening import open_repository

_PREFIX = "strongroom-damage-"


def hold_damage_copy(settings: Settings, request: HoldDamageCopy, context: Context) -> DamageCopyReport:
    """Announce the copy and hold it until released; however this ends, short of SIGKILL, the folder is removed.

    Raises what reading the repository raises: damage that was there before the drill is no part of it.
    """
    started = time.monotonic()
    repository = open_repository(settings, to_read_rows=True, deadline=context.deadline)
    manifest = repository.read_manifest(request.backup)
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as name:
        folder = Path(name)
        copied = copy_reached(
            repository,
            manifest,
            folder,
            random=context.random,
            parallelism=settings.repository.parallel_copies,
            deadline=context.deadline,
            progress=lambda done, total: context.progress(Progress(done, total, "bytes", "copying")),
        )
        passphrase = settings.keys.read_passphrase()
        make_other_keys(folder, settings.keys.directory, repository.keyring, passphrase, context.random)
        report = DamageCopyReport(
            folder=name,
            objects=copied.objects,
            bytes_copied=copied.bytes_copied,
            older=copied.older,
            is_made_up=copied.is_made_up,
            seconds=round(time.monotonic() - started, 3),
        )
        context.announce(report)
        context.wait_for_release()
    return report
