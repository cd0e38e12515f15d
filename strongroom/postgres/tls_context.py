"""libpq's TLS settings as a Python TLS context: the same words, the same meaning, the same defaults.

`sslmode`, `sslrootcert`, `sslcert`, `sslkey`, `sslpassword`, `sslcrl`, `ssl_min_protocol_version` and the
default files below ~/.postgresql. For example:

    context = make_tls_context({"host": "db.example", "sslmode": "verify-full", "sslrootcert": "ca.pem"})
"""

import ssl
from collections.abc import Mapping
from pathlib import Path

from strongroom.errors import (
    CertificateNotTrusted,
    ClientCertificateUnusable,
    HostNameMismatch,
    TlsRefused,
)

_VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}
# X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH of OpenSSL.
_NAME_MISMATCHES = {62, 64}


def tls_mode(conninfo: Mapping[str, str]) -> str:
    """Return the connection's sslmode, `prefer` when it says nothing, as libpq does."""
    return conninfo.get("sslmode") or "prefer"


def make_tls_context(conninfo: Mapping[str, str]) -> ssl.SSLContext:
    """Return the context that checks what the connection's sslmode promises.

    Raises `CertificateNotTrusted` if there is nothing to check against, `ClientCertificateUnusable`.
    """
    mode = tls_mode(conninfo)
    roots = _root_certificates(conninfo, mode)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = mode == "verify-full"
    # libpq: a file of roots turns `require` into `verify-ca`, for the sake of old configurations.
    checks = mode in {"verify-ca", "verify-full"} or (mode == "require" and roots is not None)
    context.verify_mode = ssl.CERT_REQUIRED if checks else ssl.CERT_NONE
    context.minimum_version = _VERSIONS.get(
        conninfo.get("ssl_min_protocol_version", ""), ssl.TLSVersion.TLSv1_2
    )
    if checks and roots is not None:
        _load_roots(context, roots, conninfo)
    _load_client_certificate(context, conninfo)
    return context


def translate_tls(error: ssl.SSLError, host: str) -> TlsRefused:
    """Return the coded error for a handshake that failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        detail = error.verify_message.rstrip(".")
        if error.verify_code in _NAME_MISMATCHES:
            return HostNameMismatch(host=host, detail=detail)
        return CertificateNotTrusted(host=host, detail=detail)
    return TlsRefused(detail=f"the handshake with {host} failed ({error.reason or 'no reason given'}).")


def _root_certificates(conninfo: Mapping[str, str], mode: str) -> str | None:
    """Return the file of trusted roots (`system` for the machine's), None where none is asked for."""
    given = conninfo.get("sslrootcert")
    if given == "system":
        if mode != "verify-full":
            detail = f"sslrootcert=system goes with sslmode=verify-full only, not with {mode}"
            raise ClientCertificateUnusable(names="sslrootcert", detail=detail)
        return given
    default = Path.home() / ".postgresql" / "root.crt"
    path = Path(given) if given else default
    if path.is_file():
        return str(path)
    if mode in {"verify-ca", "verify-full"}:
        detail = f"the file of trusted authorities {path} does not exist"
        raise CertificateNotTrusted(host=conninfo.get("host", ""), detail=detail)
    return None


def _load_roots(context: ssl.SSLContext, roots: str, conninfo: Mapping[str, str]) -> None:
    try:
        if roots == "system":
            context.load_default_certs()
        else:
            context.load_verify_locations(roots)
        revoked = conninfo.get("sslcrl")
        if revoked:
            context.load_verify_locations(revoked)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    except OSError as error:
        raise ClientCertificateUnusable(names="sslrootcert, sslcrl", detail=_reason(error)) from error


def _load_client_certificate(context: ssl.SSLContext, conninfo: Mapping[str, str]) -> None:
    """Load the certificate that proves who we are: the given one, or libpq's default if it exists."""
    folder = Path.home() / ".postgresql"
    given = conninfo.get("sslcert")
    certificate = Path(given) if given else folder / "postgresql.crt"
    if not given and not certificate.is_file():
        return
    key = conninfo.get("sslkey") or str(folder / "postgresql.key")
    try:
        # Without a password OpenSSL would ask the terminal for one.
        context.load_cert_chain(certificate, key, password=conninfo.get("sslpassword", ""))
    except OSError as error:
        raise ClientCertificateUnusable(names="sslcert, sslkey", detail=_reason(error)) from error


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"not usable PEM ({error.reason})"
    return str(error.strerror)
