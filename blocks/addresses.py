"""Addresses of databases as blocks hold them: a URL, and apart from it the CA file people tend to forget."""

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit


def with_root_certificate(url: str, sslrootcert: str | None) -> str:
    """Return the URL with `sslrootcert` among its parameters; one that the URL names itself stays."""
    if not sslrootcert:
        return url
    parts = urlsplit(url)
    parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
    parameters = {"sslmode": "verify-full", "sslrootcert": sslrootcert} | parameters
    return urlunsplit(parts._replace(query=urlencode(parameters, safe="/:")))
