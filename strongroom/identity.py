"""Who is at work: the operating system's user, for what people decide and for the audit of it."""

import getpass
import socket


def current_user() -> str:
    """Return "user@machine" of this process; a user without a name is called by number."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A container's user may have no entry anywhere.
        import os

        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
