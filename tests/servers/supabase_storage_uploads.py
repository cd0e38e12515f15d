"""Resumable uploads of our own storage server: the TUS protocol with the errors of the service, in plain text."""

from __future__ import annotations

import base64
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from tests.servers.supabase_storage_project import Project, Refused

if TYPE_CHECKING:
    from tests.servers.supabase_storage import Exchange

PIECE_BYTES = 6 << 20


@dataclass
class Upload:
    """One upload under way: what it will be, and how much of it came."""

    bucket: str
    key: str
    mime: str
    size: int
    path: Path
    lock: Lock = field(default_factory=Lock)
    is_finished: bool = False

    @property
    def offset(self) -> int:
        """Return how many bytes came."""
        return self.size if self.is_finished else self.path.stat().st_size


class Uploads:
    """All uploads of a project, by the id in their address."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.by_id: dict[str, Upload] = {}
        self.piece_sizes: list[int] = []
        self.forgets_finished = False
        """Whether a finished upload is answered with 410, as some versions of the service do."""

    def answer(self, exchange: Exchange, upload_id: str) -> None:
        """Answer a request below `upload/resumable`."""
        verbs = {"POST": self._create, "PATCH": self._take, "HEAD": self._tell, "DELETE": self._end}
        try:
            verbs[exchange.verb](exchange, upload_id)
        except Refused as refused:
            # Here the status is the true one, and there is no JSON.
            exchange.answer(refused.status, refused.message.encode(), {"content-type": "text/plain"})

    def _create(self, exchange: Exchange, _: str) -> None:
        pairs = (pair.split(" ") for pair in exchange.headers["upload-metadata"].split(","))
        facts = {name: base64.b64decode(value).decode() for name, value in pairs}
        bucket = self.project.bucket(facts["bucketName"])
        key, mime, size = facts["objectName"], facts["contentType"], int(exchange.headers["upload-length"])
        if size > self.project.limit_of(bucket):
            raise Refused(413, "", "", "Maximum size exceeded\n")
        self._check(exchange, bucket.name, key, mime)
        path = self.project.new_file()
        path.touch()
        address = f"{bucket.name}/{key}/{uuid.uuid4()}"
        upload_id = base64.urlsafe_b64encode(address.encode()).decode().rstrip("=")
        self.by_id[upload_id] = Upload(bucket.name, key, mime, size, path)
        # As behind many gateways, the address is not the one that clients use.
        location = f"http://storage-internal:5000/upload/resumable/{upload_id}"
        exchange.answer(201, b"", {"location": location, "tus-resumable": "1.0.0"})

    def _take(self, exchange: Exchange, upload_id: str) -> None:
        upload = self._find(upload_id)
        self._check(exchange, upload.bucket, upload.key, upload.mime)
        with upload.lock:
            if int(exchange.headers["upload-offset"]) != upload.offset:
                raise Refused(409, "", "", "Upload-Offset conflict\n")
            length = int(exchange.headers["content-length"])
            is_last = upload.offset + length == upload.size
            came = self._append(exchange, upload)
            self.piece_sizes.append(length)
            if came < length:
                # What came of a piece stays; the client asks how much it was.
                exchange.hang_up()
                return
            if not is_last and upload.offset % PIECE_BYTES:
                raise Refused(400, "InvalidRequest", "", "only the last piece may be smaller")
            if is_last:
                self._finish(exchange, upload)
        exchange.answer(204, b"", {"upload-offset": str(upload.offset), "tus-resumable": "1.0.0"})

    def _append(self, exchange: Exchange, upload: Upload) -> int:
        came = 0
        with upload.path.open("ab") as file:
            for data in exchange.pieces():
                came += file.write(data)
        return came

    def _finish(self, exchange: Exchange, upload: Upload) -> None:
        upsert = exchange.headers.get("x-upsert") == "true"
        self.project.complete_upload(upload.bucket, upload.key, upload.path, upload.mime, upsert=upsert)
        upload.is_finished = True

    def _tell(self, exchange: Exchange, upload_id: str) -> None:
        upload = self._find(upload_id)
        if upload.is_finished and self.forgets_finished:
            raise Refused(410, "", "", "The file for this url no longer exists\n")
        with upload.lock:
            # As in the service, whoever asks waits until the piece that was cut is put away.
            facts = {"upload-offset": str(upload.offset), "upload-length": str(upload.size)}
        exchange.answer(200, b"", facts | {"tus-resumable": "1.0.0"})

    def _end(self, exchange: Exchange, upload_id: str) -> None:
        upload = self._find(upload_id)
        if upload.is_finished:
            raise Refused(400, "", "", "Cannot terminate an already completed upload")
        del self.by_id[upload_id]
        upload.path.unlink()
        exchange.answer(204, b"", {})

    def _find(self, upload_id: str) -> Upload:
        if upload_id not in self.by_id:
            raise Refused(404, "", "", "The file for this url was not found\n")
        return self.by_id[upload_id]

    def _check(self, exchange: Exchange, bucket: str, key: str, mime: str) -> None:
        """Ask on every request, as the service does, whether this could be inserted."""
        self.project.check_upload(
            self.project.bucket(bucket),
            key,
            mime,
            upsert=exchange.headers.get("x-upsert") == "true",
            may_write=exchange.may_write,
        )
