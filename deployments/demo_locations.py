"""The locations of the demo: one folder, or a local one, an edge and an archive, of which two come to harm.

places = DemoPlaces(folder, archive="s3://bucket/prefix")
places.configuration()          # what stands under [repository]
places.do_harm()                # the local location is lost, and a bit at the edge flips
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from deployments.demo_report import Proof
from deployments.printing import number
from flows.wording import size
from strongroom.config import Settings
from strongroom.operations.location_messages import CopyReport, ReplicationReport
from strongroom.operations.messages import Message, VerificationReport
from strongroom.repository.locations import open_location

_LOCAL, _EDGE, _ARCHIVE = "local", "edge", "archive"


@dataclass(frozen=True)
class DemoPlaces:
    """Where the demo keeps backups. Without `several` in one folder; `archive` is a URL, empty for a folder."""

    folder: Path
    several: bool = False
    archive: str = ""

    def configuration(self) -> str:
        """Return the locations as they stand in the configuration file."""
        urls = {_LOCAL: (self.folder / "repository").as_uri()}
        if self.several:
            urls[_EDGE] = (self.folder / "edge").as_uri()
            urls[_ARCHIVE] = self.archive or (self.folder / "archive").as_uri()
        entries = (f'{{ name = "{name}", role = "{name}", url = "{url}" }}' for name, url in urls.items())
        return "locations = [\n  " + ",\n  ".join(entries) + "\n]"

    def do_harm(self) -> None:
        """Lose the local location, and flip a bit of one pack at the edge."""
        shutil.rmtree(self.folder / "repository")
        pack = max((self.folder / "edge/packs").glob("*/*"), key=lambda path: path.stat().st_size)
        content = bytearray(pack.read_bytes())
        content[len(content) // 2] ^= 1
        pack.write_bytes(content)

    def prove_copies(self, reports: list[Message]) -> list[Proof]:
        """Return what copying proved: each location lists every backup, and each byte was read once for both."""
        places = [report for report in reports if isinstance(report, ReplicationReport)]
        newest = {place.location: place for place in places}
        copied = [report for report in reports if isinstance(report, CopyReport)]
        read = sum(report.bytes_read for report in copied) + sum(place.bytes_read for place in places)
        written = sum(part.bytes_copied for report in copied for part in report.places)
        written += sum(place.bytes_copied for place in places)
        return [
            Proof(
                "every backup is at three locations",
                {name: place.listed for name, place in newest.items()}
                == dict.fromkeys((_LOCAL, _EDGE, _ARCHIVE), 2),
                ", ".join(f"{place.location} lists {place.listed}" for place in newest.values()),
            ),
            Proof(
                "copying to two costs one read",
                read > 0 and written == 2 * read,
                f"{size(read)} read, {size(written)} written",
            ),
        ]

    def prove_recovery(self, reports: list[Message]) -> list[Proof]:
        """Return what the recovery proved: it needed neither the lost location nor the damaged object."""
        last = [report for report in reports if isinstance(report, VerificationReport)][-1]
        mended = [finding for finding in last.findings if finding.code == "repaired"]
        lost = not (self.folder / "repository/manifests").exists()
        return [
            Proof("the local location is gone, its files with it", lost, "recovered from the edge"),
            Proof(
                "damage at the edge was found and mended from the archive",
                last.passed and last.location == _EDGE and len(mended) == 1,
                f"{number(len(mended))} object of {number(last.objects_checked)}",
            ),
        ]

    def clean_up(self, settings: Settings) -> None:
        """Delete what the demo stored at an archive that is not a folder of its own."""
        if self.several and self.archive:
            store = open_location(settings, _ARCHIVE).store
            for found in list(store.list()):
                store.delete(found.name)
