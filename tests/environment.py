"""What every test process runs under: nothing that phones home. Loaded first, through pytest's `-p`.

Set before any library is imported, since each reads its switch once; child processes inherit it.
"""

import os

TELEMETRY_OFF = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "GX_ANALYTICS_ENABLED": "False",
}

os.environ.update(TELEMETRY_OFF)
