"""Everything that has to hold before a change counts: `python -m tests` runs it, CI does the same.

Linters and types first, since they are quick, then import contracts, then pytest, whose summary stands
last. All of them run whatever the earlier ones said; the exit status is 1 if any failed. Arguments go to
pytest (`python -m tests -k config`; `-n 0` for one process); `--no-tests` alone stops before it.
"""

import os
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from tests.environment import TELEMETRY_OFF

ROOT = Path(__file__).resolve().parent.parent
CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy", "--strict"),
    ("lint-imports", "--no-logo"),
)
# The tests of a file stay together, in their order, so that each starts its servers once; files begin in the order
# in which they were collected (tests/conftest.py): what takes longest first, so that both processes end together.
IN_TWO_PROCESSES = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")


def run(program: str, *arguments: str) -> bool:
    """Run a program of this environment, say so, and return whether it was content."""
    print(f"\n=== {program} {' '.join(arguments)}".rstrip(), flush=True)
    started = time.monotonic()
    command = [str(Path(sysconfig.get_path("scripts")) / program), *arguments]
    status = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode
    if program != "pytest":
        verdict = "passed" if status == 0 else f"FAILED with status {status}"
        print(f"--- {program} {verdict} in {time.monotonic() - started:.1f} s", flush=True)
    return status == 0


def main(arguments: list[str]) -> int:
    """Run all checks and, unless told otherwise, the tests."""
    os.environ.update(TELEMETRY_OFF)
    failed = [f"{check[0]} {check[1]}" for check in CHECKS if not run(*check)]
    if failed:
        print(f"\n!!! these checks failed: {', '.join(failed)}", flush=True)
    if arguments != ["--no-tests"] and not run("pytest", *IN_TWO_PROCESSES, *arguments):
        failed.append("pytest")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
