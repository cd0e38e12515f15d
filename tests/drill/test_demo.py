"""Facts about the demo: the first of the README's two commands, run as a user runs it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.environment import TELEMETRY_OFF

LIMIT_SECONDS = 240


def demo(folder: Path, *words: str) -> "subprocess.Popen[str]":
    """Start the demo, its home and temporary files in `folder`, among settings of the user's that it must ignore."""
    (folder / "home").mkdir()
    (folder / "temporary").mkdir(mode=0o755)
    return subprocess.Popen(
        [sys.executable, "-m", "deployments.command_line", "demo", *words],
        cwd=folder,
        env=os.environ
        | {
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "temporary"),
            "STRONGROOM_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/production",
            "STRONGROOM_BACKUP_MAX_BACKUP_SIZE": "1",
            "PREFECT_API_URL": "http://127.0.0.1:1/api",
            "PGHOST": "127.0.0.1",
            **TELEMETRY_OFF,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("words", [(), ("--locations",)], ids=["one location", "three locations"])
@pytest.mark.timeout(LIMIT_SECONDS + 30)
def test_the_demo_proves_all_that_it_claims(tmp_path: Path, words: tuple[str, ...]) -> None:
    """It backs up, destroys, recovers, finds everything equal, ends with 0, and leaves nothing behind."""
    with demo(tmp_path, "--scale", "1", "--json", *words) as process:
        out, err = process.communicate(timeout=LIMIT_SECONDS)
    assert 0 == process.returncode, err[-4000:]
    report = json.loads(out)
    assert [] == [proof for proof in report["proofs"] if not proof["holds"]]
    assert report["passed"]
    assert bool(words) == ("every backup is at three locations" in [one["claim"] for one in report["proofs"]])
    assert ("full", "incremental") == (report["full"]["kind"], report["incremental"]["kind"])
    assert 0 < report["incremental"]["totals"]["rows_read"] < report["full"]["totals"]["rows_read"] / 10
    assert [] == list((tmp_path / "temporary").iterdir())
    assert [] == list((tmp_path / "home").iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_an_interrupted_demo_cleans_up(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end it with 1 and SR-1180; servers and folders are gone."""
    with demo(tmp_path, "--scale", "1", "--json") as process:
        limit = time.monotonic() + 60
        while not list((tmp_path / "temporary").glob("strongroom-demo-*/strongroom.toml")):
            assert process.poll() is None
            assert time.monotonic() < limit
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (1, "SR-1180") == (process.returncode, json.loads(out)["error"]["code"]), err
    assert [] == list((tmp_path / "temporary").iterdir())
