"""Which bucket and key a request means: path-style (`/bucket/key`) or virtual-host style (`bucket.host/key`).

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from clary.edge.aws.s3.errors import S3Error
from clary.kit.loopback import host_of

_SERVICE = re.compile(r"(?:(?P<bucket>.+)\.)?s3(?:[.-].*)?")
"""`s3.host`, `s3-region.host`, or a bucket before one of them."""


@dataclass(frozen=True)
class Address:
    """What a request is about; empty where it is not about one."""

    bucket: str
    key: str


def address(authority: str, raw_path: str, hosts: Collection[str]) -> Address:
    """The address, from the Host header and the path as it stood on the wire (percent-encoded).

    `hosts` are names that the server is known by, lower case, without port. InvalidURI where the path is not UTF-8.
    """
    bucket = bucket_of_host(host_of(authority), hosts)
    path = raw_path.removeprefix("/")
    if not bucket:
        bucket, _, path = path.partition("/")
        bucket = _decode(bucket)
    return Address(bucket, _decode(path))


def bucket_of_host(host: str, hosts: Collection[str]) -> str:
    """The bucket in a host name; empty for path-style."""
    if not host or host == "localhost" or host in hosts or _is_address(host):
        return ""
    service = _SERVICE.fullmatch(host)
    if service is not None:
        return service["bucket"] or ""
    for known in ("localhost", *hosts):
        if host.endswith("." + known):
            return host.removesuffix("." + known)
    return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _decode(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise S3Error("InvalidURI", URI=text[:256]) from None
