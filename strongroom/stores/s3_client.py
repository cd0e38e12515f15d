"""One bucket of an S3 service, seen by one user: the client, how it is set up, and the one way to ask.

The client is made by the first request, once, and shared by all threads. Its own retries are off: a store above
tries again, with one deadline over everything.

    bucket = Bucket("my-bucket", "prefix/", StoreOptions(endpoint="https://s3.example.com"))
    bucket.ask("stat", "repository.json", "head_object", Key=bucket.key("repository.json"))
"""

import re
import threading
from typing import Any
from urllib.parse import urlsplit

from strongroom.errors import CredentialsMissing, OptionUnfit, WrongRegion
from strongroom.stores.options import StoreOptions
from strongroom.stores.s3_errors import REMEDY, Request, translated

_KMS_KEY = re.compile(r"aws:kms:.+")
_DEFAULT_REGION = "us-east-1"
"""What services with an endpoint of their own expect in signatures where nothing else is said."""


class Bucket:
    """Asks a service for one bucket; objects are named by their names below the prefix."""

    def __init__(self, name: str, prefix: str, options: StoreOptions) -> None:
        self.name = name
        self.prefix = prefix
        self.options = options
        self.description = _description(name, prefix, options.endpoint)
        self.seen = False
        """Whether the service has done anything for us in this bucket: it is there, then."""
        self._client: Any = None
        self._lock = threading.Lock()

    def key(self, name: str) -> str:
        """Return the key of an object."""
        return self.prefix + name

    def request(self, operation: str, name: str, size: int | None = None) -> Request:
        """Describe a request for the errors that may come of it."""
        region = self.options.region or (_DEFAULT_REGION if self.options.endpoint else "")
        return Request(self.description, self.name, operation, name, region, size)

    def ask(
        self,
        operation: str,
        name: str,
        method: str,
        *,
        expected: frozenset[int] = frozenset(),
        size: int | None = None,
        **parameters: Any,
    ) -> dict[str, Any]:
        """Call a method of the client and return its answer.

        Raises coded errors only, and `Declined` for answers whose HTTP status is in `expected`. `operation`
        and `name` say in errors what was wanted.
        """
        with translated(self.request(operation, name, size), expected):
            answer: dict[str, Any] = getattr(self.client(), method)(Bucket=self.name, **parameters)
        self.seen = True
        return answer

    def client(self) -> Any:
        """Return the client, making it if this is the first use. Raises `CredentialsMissing`."""
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def close(self) -> None:
        """Close the connections that are kept open. A later request makes new ones."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _connect(self) -> Any:
        import boto3
        from botocore.config import Config

        options = self.options
        session = boto3.session.Session(
            aws_access_key_id=options.access_key or None,
            aws_secret_access_key=options.secret_key or None,
            aws_session_token=options.session_token or None,
            region_name=options.region or None,
        )
        if session.get_credentials() is None:
            raise CredentialsMissing(store=self.description, remedy=REMEDY)
        region = session.region_name or (_DEFAULT_REGION if options.endpoint else "")
        if not region:
            raise WrongRegion(store=self.description, region="''", reason="no region is set")
        return session.client(
            "s3",
            region_name=region,
            endpoint_url=options.endpoint or None,
            verify=str(options.ca_file) if options.ca_file else None,
            config=Config(**_settings(options)),
        )


def check_options(options: StoreOptions) -> None:
    """Raise `OptionUnfit` or `CredentialsMissing` for options that no S3 service could work with."""
    if options.credentials_file is not None:
        raise _unfit("credentials_file", "S3 takes access_key and secret_key, or a profile of the AWS tools")
    if bool(options.access_key) != bool(options.secret_key):
        raise CredentialsMissing(store="s3", remedy="Set both access_key and secret_key, or neither of them.")
    if options.ca_file is not None and not options.ca_file.is_file():
        raise _unfit("ca_file", f"there is no file {options.ca_file}")
    if options.endpoint:
        _check_endpoint(options.endpoint)
    if options.encryption not in {"", "AES256", "aws:kms"} and not _KMS_KEY.fullmatch(options.encryption):
        raise _unfit("encryption", "it is none of AES256, aws:kms, aws:kms:<key id>")


def _check_endpoint(endpoint: str) -> None:
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise _unfit("endpoint", "it is not of the form https://host")
    if parts.username is not None or parts.query or parts.fragment:
        raise _unfit("endpoint", "credentials and options are settings of their own, not parts of it")


def _unfit(option: str, reason: str) -> OptionUnfit:
    return OptionUnfit(option=option, scheme="s3", reason=reason)


def _description(name: str, prefix: str, endpoint: str) -> str:
    place = f"s3://{name}/{prefix}".rstrip("/")
    return f"{place} at {urlsplit(endpoint).netloc}" if endpoint else place


def _settings(options: StoreOptions) -> dict[str, Any]:
    """Return botocore's settings, tuned by measuring (docs/performance.md)."""
    path_style = bool(options.endpoint) if options.path_style is None else options.path_style
    return {
        "signature_version": "s3v4",
        "connect_timeout": options.connect_timeout,
        "read_timeout": options.read_timeout,
        "max_pool_connections": options.connections,
        "tcp_keepalive": True,
        "retries": {"total_max_attempts": 1, "mode": "standard"},
        # We send our own SHA-256, and check what comes back: a second checksum costs a second pass over the
        # bytes, and some services refuse the trailers that it is sent in.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        "s3": {
            "addressing_style": "path" if path_style else "auto",
            # On TLS the transport protects the body; without it, the signature has to.
            "payload_signing_enabled": options.endpoint.startswith("http://"),
        },
    }
