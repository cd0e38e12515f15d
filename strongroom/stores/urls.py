"""Taking apart the URLs of buckets: `s3://bucket/prefix` and its kin. Pure."""

from urllib.parse import unquote, urlsplit

from strongroom.errors import BadStoreUrl
from strongroom.stores.names import is_name


def bucket_and_prefix(url: str) -> tuple[str, str]:
    """Return bucket and prefix of an object store's URL; the prefix is empty or ends in a slash.

    Raises `BadStoreUrl`. Prefixes are made of what object names are made of.
    """
    parts = urlsplit(url)
    bucket, prefix = parts.netloc, unquote(parts.path).strip("/")
    if not bucket or "@" in bucket:
        raise BadStoreUrl(reason="it names no bucket, or a user")
    if parts.query or parts.fragment:
        raise BadStoreUrl(reason="options of a location are settings of their own, not parts of its URL")
    if prefix and not is_name(prefix):
        raise BadStoreUrl(reason="its prefix has other characters than a-z, 0-9, dot, underscore and hyphen")
    return bucket, f"{prefix}/" if prefix else ""
